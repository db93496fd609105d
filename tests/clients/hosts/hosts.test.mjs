// MCP hosts as their users install them. Each logs in, lists tools, refreshes, is revoked, and is denied.
//
// None needs an account or a model for that. All get an empty home, and a loopback network alone if tests/run hosts can
// make one.

import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { Human } from "../human.mjs";
import { Program, REPOSITORY, SHORT, standInBrowser, startService } from "../service.mjs";

const BIN = fileURLToPath(new URL("node_modules/.bin", import.meta.url));
const CODEX_TOOLS = fileURLToPath(new URL("codex_tools.mjs", import.meta.url));
const INSPECTOR = "mcp-inspector --cli URL --transport http --method tools/list";

// `before` runs first, `login` opens the browser, `connect` follows it, and `list` writes what matches `lists`. Of a
// revoked host `list` says `revoked`, and of a denied one `login` says `denied`.
const HOSTS = {
  "Claude Code": {
    before: "claude mcp add --transport http m URL",
    login: "claude mcp login m",
    tty: true,
    list: "claude mcp list",
    lists: /Connected/,
    revoked: /Needs authentication/,
    denied: /access_denied - the human denied the request/,
  },
  Codex: {
    login: "codex mcp add m --url URL",
    list: `node ${CODEX_TOOLS}`,
    lists: /"list_projects"/,
    revoked: /OAuth authorization required/,
    // It asks twice: the second time without the scopes that it discovered.
    asks: 2,
    denied: /access_denied/,
  },
  opencode: {
    files: { "opencode.json": (url) => ({ mcp: { m: { type: "remote", url } } }) },
    login: "opencode mcp auth m",
    tty: true,
    list: "opencode mcp list",
    lists: /m connected/,
    revoked: /needs authentication/,
    denied: /the human denied the request/,
  },
  "MCP inspector": {
    login: INSPECTOR,
    list: INSPECTOR,
    lists: /"list_projects"/,
    env: { MCP_AUTO_OPEN_ENABLED: "true", MCP_INSPECTOR_SECRET_STORE: "file" },
    // It opens the browser again at once.
    revoked: /Please navigate to/,
    denied: /the human denied the request/,
  },
  mcporter: {
    files: { "config/mcporter.json": (url) => ({ mcpServers: { m: { url, auth: "oauth" } } }) },
    login: "mcporter auth m",
    list: "mcporter call m.list_projects",
    lists: /Corner Bakery/,
    // It opens the browser again at once.
    revoked: /OAuth authorization required/,
    denied: /access_denied/,
  },
  mcpc: {
    login: "mcpc login URL",
    connect: "mcpc connect URL @m",
    list: "mcpc @m tools-call list_projects",
    lists: /Corner Bakery/,
    revoked: /re-authenticate/i,
    denied: /the human denied the request/,
    end: "mcpc @m close",
  },
};

let folder, service, human;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "tower-agent-auth-clients-"));
  const config = join(folder, "agent-auth.toml");
  await writeFile(config, await withoutMetadataDocuments());
  service = await startService("mcp", ["--config", config, "--access-ttl", `${SHORT}s`]);
  human = await Human.start();
});

after(async () => {
  await human?.close();
  await service?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** The metadata documents of Codex and Claude Code are on the internet. Without it, all hosts register themselves. */
async function withoutMetadataDocuments() {
  const text = await readFile(join(REPOSITORY, "examples/mcp/agent-auth.toml"), "utf8");
  assert.ok(text.includes("[oauth]\n"), "examples/mcp/agent-auth.toml has [oauth]");
  return text.replace("[oauth]\n", "[oauth]\nmetadata_documents = false\n");
}

for (const [name, host] of Object.entries(HOSTS)) {
  const start = async (context) => {
    const browser = await standInBrowser();
    const { folder } = browser;
    const own = { PATH: `${BIN}:${browser.env.PATH}`, XDG_CONFIG_HOME: join(folder, ".config"), TERM: "xterm" };
    const env = { ...browser.env, ...own, XDG_DATA_HOME: join(folder, ".data"), ...host.env };
    const url = `${service.url}/mcp`;
    for (const [path, content] of Object.entries(host.files ?? {})) {
      await mkdir(join(folder, path, ".."), { recursive: true });
      await writeFile(join(folder, path), JSON.stringify(content(url)));
    }
    const launch = (line) => {
      const command = line.replaceAll("URL", url);
      const options = { env, cwd: folder };
      if (host.tty) return new Program("script", ["-qefc", command, "/dev/null"], options);
      const program = new Program("sh", ["-c", `exec ${command}`], options);
      program.process.stdin.end();
      return program;
    };
    /** Runs a command to its end, or until it says something; what it said. */
    const run = async (line, enough) => {
      const program = launch(line);
      const deadline = Date.now() + 60_000;
      while (program.code === undefined && !enough?.test(plain(program.said())) && Date.now() < deadline) await sleep(100);
      await program.stop();
      return plain(program.said());
    };
    context.after(async () => {
      if (host.end) await run(host.end);
      await browser.close();
    });
    if (host.before) await run(host.before);
    return { browser, launch, run };
  };

  test(`${name} logs in, lists tools, refreshes, and is revoked`, async (context) => {
    const { browser, launch, run } = await start(context);
    const login = launch(host.login);
    await human.approve(await browser.next());
    assert.equal(await login.ended, 0, login.said());
    if (host.connect) await run(host.connect);
    assert.match(await run(host.list), host.lists);

    await sleep(SHORT * 1_000 + 500);
    assert.match(await run(host.list), host.lists);
    assert.equal(await browser.unread(), 0, "it refreshed, and asked nobody");

    await human.revokeAll(service.url);
    const said = await run(host.list, host.revoked);
    assert.match(said, host.revoked);
    context.diagnostic(`revoked: ${line(said, host.revoked)}`);
  });

  test(`${name} is denied`, async (context) => {
    const { browser, launch } = await start(context);
    const login = launch(host.login);
    for (let asked = 0; asked < (host.asks ?? 1); asked++) await human.deny(await browser.next());
    await login.ended;
    const said = plain(login.said());
    assert.match(said, host.denied);
    assert.equal(await browser.unread(), 0);
    context.diagnostic(`denied: ${line(said, host.denied)}`);
  });
}

/** What is left to read without the escape sequences of a terminal. */
function plain(said) {
  return said.replace(/\x1b\[\d*G/g, " ").replace(/\x1b\[[0-9;?<>=]*[a-zA-Z]|\x1b\][^\x07]*\x07|\x1b[()]?.|\r/g, "");
}

function line(said, about) {
  return said.split("\n").find((line) => about.test(line))?.trim().slice(0, 200);
}
