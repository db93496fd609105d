// The crates oauth2 and rmcp: rust/.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Human } from "./human.mjs";
import { Program, SHORT, built, startService } from "./service.mjs";

let api, mcp, human;

before(async () => {
  api = await startService("axum");
  mcp = await startService("mcp", ["--access-ttl", `${SHORT}s`]);
  human = await Human.start();
});

after(async () => {
  await human?.close();
  await mcp?.stop();
  await api?.stop();
});

function start(context, which, url) {
  const program = new Program(built("clients"), [which, url]);
  context.after(() => program.stop());
  return program;
}

test("oauth2 logs in, calls the API, refreshes, and is revoked", async (context) => {
  const program = start(context, "oauth2", api.url);
  await human.approve(await program.word("open"));
  assert.equal(await program.word("status"), "200");
  program.write("refresh");
  assert.equal(await program.word("status"), "200");

  await human.revokeAll(api.url);
  program.write("call");
  assert.equal(await program.word("status"), "401");
  program.write("refresh");
  assert.match(await program.word("failed"), /invalid_grant/);
});

test("oauth2 is denied", async (context) => {
  const program = start(context, "oauth2", api.url);
  await human.deny(await program.word("open"));
  assert.equal(await program.word("failed"), "access_denied: the human denied the request");
});

test("rmcp logs in, calls a tool, refreshes, and is revoked", async (context) => {
  const program = start(context, "rmcp", `${mcp.url}/mcp`);
  await human.approve(await program.word("open"));
  assert.match(await program.word("called"), /projects/);
  assert.match(await program.word("tools"), /\blist_projects\b/);
  program.write("refresh");
  await program.word("tools");
  // By itself, when the token has expired.
  await sleep(SHORT * 1_000 + 500);
  program.write("call");
  await program.word("tools");

  await human.revokeAll(mcp.url);
  program.write("call");
  assert.match(await program.word("failed"), /auth/i);
});

test("rmcp is denied", async (context) => {
  const program = start(context, "rmcp", `${mcp.url}/mcp`);
  await human.deny(await program.word("open"));
  // It has no words for a denial.
  assert.match(await program.word("failed"), /Authorization callback missing code/);
});
