// A human with a browser: headless Chromium, driven by chromedriver over the WebDriver protocol.
//
//   import { Human } from "./human.mjs"
//   node human.mjs approve|deny|allow URL  for programs that open a browser themselves; `allow` stays on the page

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const ELEMENT = "element-6066-11e4-a52e-4f735466cecf";
const PATIENCE = 20_000;
const ARGUMENTS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage",
  "--window-size=1280,1100",
];

export class Human {
  /** Opens a browser with an empty profile. */
  static async start(email = "ada@example.com") {
    const profile = await mkdtemp(join(tmpdir(), "tower-agent-auth-clients-"));
    const driver = spawn("chromedriver", ["--port=0"], { stdio: ["ignore", "pipe", "ignore"] });
    const human = new Human(email, driver, profile);
    try {
      human.url = `http://127.0.0.1:${await listeningPort(driver)}`;
      const chrome = { args: [...ARGUMENTS, `--user-data-dir=${profile}`] };
      const alwaysMatch = { "goog:chromeOptions": chrome, "goog:loggingPrefs": { browser: "ALL" } };
      const session = await human.command("POST", "/session", { capabilities: { alwaysMatch } });
      human.url += `/session/${session.sessionId}`;
    } catch (error) {
      await human.close();
      throw error;
    }
    return human;
  }

  constructor(email, driver, profile) {
    Object.assign(this, { email, driver, profile });
  }

  async close() {
    await this.command("DELETE", "").catch(() => {});
    this.driver.kill();
    await rm(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }

  /** Opens a client's authorization URL, approves everything, and returns where the browser ends. */
  async approve(url) {
    return this.decide(url, "approve");
  }

  /** The same with the other button. */
  async deny(url) {
    return this.decide(url, "deny");
  }

  async decide(url, decision) {
    await this.open(url);
    const button = `button[name=decision][value=${decision}]`;
    await this.find(button);
    const origin = await this.script("return location.origin");
    const asks = await this.script("return document.querySelector('h1').innerText");
    if (!asks.startsWith("Let this agent use")) throw new Error(`this is no approval page: ${asks}`);
    this.page = await this.script("return document.body.innerText");
    if (decision === "approve") {
      await this.script("for (const box of document.querySelectorAll('[name=scope]')) if (!box.checked) box.click()");
      await this.wakesUp();
    }
    await this.click(button);
    return this.until(`the browser leaves ${origin}`, async () => {
      const now = await this.script("return location.href");
      return now.startsWith(`${origin}/`) || now === "about:blank" ? undefined : now;
    });
  }

  /** Opens an approval page that leads nowhere else, types the agent's code if there is one, and approves everything. */
  async allow(url, code) {
    await this.open(url);
    await this.find("button[value=approve]");
    await this.script("for (const box of document.querySelectorAll('[name=scope]')) if (!box.checked) box.click()");
    if (code) await this.type("#user-code", code);
    await this.wakesUp();
    await this.click("button[value=approve]");
    await this.until("the page is another one", () => this.script("return !document.querySelector('button[value=approve]')"));
  }

  /** Revokes every session on the sessions page. */
  async revokeAll(origin) {
    await this.open(`${origin}/sessions?confirm=all`);
    await this.click("button[value=revoke_all]");
    await this.reads("All sessions revoked");
  }

  /** Opens a page of the service, and signs in if it asks for that. */
  async open(url) {
    await this.command("POST", "/url", { url });
    const signIn = await this.script("return document.querySelector('input[type=password]') !== null");
    if (!signIn) return;
    await this.type("input[type=email]", this.email);
    await this.type("input[type=password]", "any");
    await this.click("form:has(input[type=password]) button");
    await this.until("the sign-in page goes", () => this.script("return !document.querySelector('input[type=password]')"));
  }

  /** What the page says. */
  async text() {
    return this.script("return document.body ? document.body.innerText : ''");
  }

  async reads(words) {
    await this.until(`the page says ${words}`, async () => (await this.text()).includes(words));
  }

  /** What the browser complained about since the last time. */
  async console() {
    const entries = await this.command("POST", "/se/log", { type: "browser" });
    return entries.map((entry) => entry.message).filter((message) => !message.includes("/favicon.ico"));
  }

  /** Approve can be pressed a second after the page shows. */
  async wakesUp() {
    const move = { type: "pointerMove", duration: 0, x: 4, y: 4 };
    const pointer = { type: "pointer", id: "mouse", parameters: { pointerType: "mouse" }, actions: [move] };
    await this.command("POST", "/actions", { actions: [pointer] });
    const awake = "return getComputedStyle(document.querySelector('button[value=approve]')).pointerEvents !== 'none'";
    await this.until("Approve can be pressed", () => this.script(awake));
  }

  async find(css) {
    return this.until(`${css} is there`, async () => {
      const found = await this.command("POST", "/elements", { using: "css selector", value: css });
      return found[0]?.[ELEMENT];
    });
  }

  async click(css) {
    await this.command("POST", `/element/${await this.find(css)}/click`, {});
  }

  async type(css, text) {
    await this.command("POST", `/element/${await this.find(css)}/value`, { text });
  }

  async script(script) {
    return this.command("POST", "/execute/sync", { script, args: [] });
  }

  async until(what, test) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const found = await test();
      if (found) return found;
      if (Date.now() > deadline) {
        throw new Error(`waited in vain until ${what}; ${await this.script("return location.href")}: ${await this.text()}`);
      }
      await sleep(50);
    }
  }

  async command(method, path, body) {
    const response = await fetch(this.url + path, { method, body: body && JSON.stringify(body) });
    const { value } = await response.json();
    if (!response.ok) throw new Error(`${method} ${path}: ${value.error}: ${value.message}`);
    return value;
  }
}

async function listeningPort(driver) {
  const died = new Promise((_, reject) => {
    driver.once("error", (error) => reject(new Error(`chromedriver does not start: ${error.message}`)));
    driver.once("exit", (code) => reject(new Error(`chromedriver ended: ${code}`)));
  });
  died.catch(() => {});
  const lines = createInterface({ input: driver.stdout });
  const port = new Promise((resolve) => {
    lines.on("line", (line) => {
      const found = /successfully on port (\d+)/.exec(line);
      if (found) resolve(found[1]);
    });
  });
  return Promise.race([port, died]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [decision, url] = process.argv.slice(2);
  if (!["approve", "deny", "allow"].includes(decision) || !url) {
    console.error("usage: node human.mjs approve|deny|allow URL");
    process.exit(2);
  }
  const human = await Human.start();
  try {
    await human[decision](url);
    // The page of the client may still send something.
    await sleep(500);
    console.log(await human.text());
  } finally {
    await human.close();
  }
}
