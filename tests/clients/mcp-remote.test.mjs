// mcp-remote: a program that gives MCP servers behind OAuth to hosts that speak stdio alone.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

import { Human } from "./human.mjs";
import { SHORT, installed, standInBrowser, startService } from "./service.mjs";

let service, human;

before(async () => {
  service = await startService("mcp", ["--access-ttl", `${SHORT}s`]);
  human = await Human.start();
});

after(async () => {
  await human?.close();
  await service?.stop();
});

async function start(context) {
  const browser = await standInBrowser();
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [installed("mcp-remote"), `${service.url}/mcp`],
    env: { ...browser.env, MCP_REMOTE_CONFIG_DIR: browser.folder },
    stderr: "pipe",
  });
  let said = "";
  transport.stderr.on("data", (text) => (said += text));
  const client = new Client({ name: "test", version: "1" });
  const connected = client.connect(transport);
  connected.catch(() => {});
  context.after(async () => {
    await client.close();
    await browser.close();
  });
  return { browser, client, connected, said: () => said };
}

test("mcp-remote logs in, calls a tool, refreshes, and asks again after it is revoked", async (context) => {
  const { browser, client, connected, said } = await start(context);
  await human.approve(await browser.next());
  await connected;
  assert.ok((await client.listTools()).tools.some((tool) => tool.name === "list_projects"));
  const { content, isError } = await client.callTool({ name: "list_projects", arguments: {} });
  assert.ok(!isError && content[0].text.includes("projects"), JSON.stringify(content));

  await sleep(SHORT * 1_000 + 500);
  await client.listTools();
  assert.equal(await browser.unread(), 0);

  await human.revokeAll(service.url);
  const listed = client.listTools();
  await human.approve(await browser.next());
  assert.ok((await listed).tools.length > 0, said());
});

test("mcp-remote is denied", async (context) => {
  const { browser, connected, said } = await start(context);
  await human.deny(await browser.next());
  await human.reads("the human denied the request");
  await assert.rejects(connected, /Connection closed/);
  assert.match(said(), /Authorization failed: access_denied - the human denied the request/);
});
