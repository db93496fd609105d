#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_agent_auth_fuzz::client_metadata(input));
