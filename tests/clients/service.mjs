// An example of the crate as a private service on a free port, and programs that log in to it.

import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));
export const TARGET = process.env.CARGO_TARGET_DIR ?? join(REPOSITORY, "target");
const PATIENCE = 60_000;
/** Seconds for which access tokens are valid where a test waits for their end. */
export const SHORT = 3;

export const built = (path) => join(TARGET, "debug", path);

/** The program that an npm package installs under this name. */
export const installed = (name) => fileURLToPath(new URL(`node_modules/.bin/${name}`, import.meta.url));

/** Starts an example with these options, and a store that is gone afterwards. */
export async function startService(example, options = []) {
  const folder = await mkdtemp(join(tmpdir(), "tower-agent-auth-clients-"));
  const command = ["--listen", "127.0.0.1:0", "--store", "memory", ...options];
  const program = new Program(built(`examples/${example}`), command, { cwd: folder });
  const first = await program.line("listening on ");
  return {
    url: first.slice("listening on ".length).trim(),
    log: () => program.stderr,
    stop: async () => {
      await program.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** The environment of a program that opens a browser, and the URLs that it opens. */
export async function standInBrowser() {
  const folder = await mkdtemp(join(tmpdir(), "tower-agent-auth-clients-"));
  const file = join(folder, "opened");
  const bin = fileURLToPath(new URL("bin", import.meta.url));
  await writeFile(file, "");
  let read = 0;
  return {
    folder,
    env: { ...process.env, PATH: `${bin}:${process.env.PATH}`, BROWSER: join(bin, "xdg-open"), OPENED: file, HOME: folder },
    /** The next URL. */
    next: async () => {
      const deadline = Date.now() + PATIENCE;
      for (;;) {
        const lines = (await readFile(file, "utf8")).split("\n").slice(0, -1);
        if (lines.length > read) return lines[read++];
        if (Date.now() > deadline) throw new Error("no browser is opened");
        await sleep(50);
      }
    },
    /** How many URLs nobody has asked for. */
    unread: async () => (await readFile(file, "utf8")).split("\n").length - 1 - read,
    close: () => rm(folder, { recursive: true, force: true }),
  };
}

/** A program whose lines are read one by one. */
export class Program {
  constructor(binary, command, options = {}) {
    this.name = [binary, ...command].join(" ");
    this.process = spawn(binary, command, { stdio: ["pipe", "pipe", "pipe"], ...options });
    this.stdout = "";
    this.stderr = "";
    this.lines = [];
    this.waiting = [];
    this.process.stdin.on("error", () => {});
    this.process.stderr.setEncoding("utf8").on("data", (text) => (this.stderr += text));
    createInterface({ input: this.process.stdout }).on("line", (line) => {
      this.stdout += `${line}\n`;
      this.lines.push(line);
      this.wake();
    });
    this.ended = new Promise((resolve) => {
      this.process.once("error", (error) => this.end(resolve, error.message));
      this.process.once("close", (code, signal) => this.end(resolve, code ?? signal));
    });
  }

  end(resolve, code) {
    this.code = code;
    this.wake();
    resolve(code);
  }

  wake() {
    for (const wake of this.waiting.splice(0)) wake();
  }

  /** The next line that begins so; lines before it are passed over. */
  async line(start) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      while (this.lines.length > 0) {
        const line = this.lines.shift();
        if (line.startsWith(start)) return line;
      }
      if (this.code !== undefined) throw new Error(`${this.name} ended (${this.code}) without "${start}": ${this.said()}`);
      if (Date.now() > deadline) throw new Error(`${this.name} does not say "${start}": ${this.said()}`);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, 1_000);
        this.waiting.push(() => (clearTimeout(timer), resolve()));
      });
    }
  }

  /** The rest of the next line that begins with this word. */
  async word(word) {
    return (await this.line(`${word} `)).slice(word.length + 1);
  }

  write(line) {
    this.process.stdin.write(`${line}\n`);
  }

  said() {
    return `${this.stdout}\n${this.stderr}`;
  }

  async stop() {
    this.process.kill();
    await this.ended;
  }
}
