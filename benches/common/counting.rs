//! An allocator that counts, on request: the one unsafe thing here, since an allocator must be.
#![expect(unsafe_code, reason = "an allocator is unsafe to implement; this one hands everything on to the system's")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::atomic::{AtomicBool, Ordering},
};

/// Whether anything is counted now: not while something is timed.
static ON: AtomicBool = AtomicBool::new(false);

thread_local! {
    static MADE: Cell<u64> = const { Cell::new(0) };
    static HELD: Cell<i64> = const { Cell::new(0) };
}

/// The allocations and the bytes that are still held of what `run` does on this thread.
pub(crate) fn counted(run: impl FnOnce()) -> (u64, i64) {
    let (made, held) = (MADE.get(), HELD.get());
    ON.store(true, Ordering::Relaxed);
    run();
    ON.store(false, Ordering::Relaxed);
    (MADE.get() - made, HELD.get() - held)
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(bytes: usize, sign: i64) {
    if !ON.load(Ordering::Relaxed) {
        return;
    }
    // A thread that ends may free after its counters have gone.
    let _ = HELD.try_with(|held| held.set(held.get() + sign * bytes as i64));
    if sign > 0 {
        let _ = MADE.try_with(|made| made.set(made.get() + 1));
    }
}

// SAFETY: every call goes to the system's allocator with the caller's own arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(size, 1);
        unsafe { System.realloc(pointer, layout, size) }
    }
}
