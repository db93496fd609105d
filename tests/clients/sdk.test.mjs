// The MCP SDK for TypeScript, of both generations.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Client as Client2, StreamableHTTPClientTransport as Transport2 } from "@modelcontextprotocol/client";
import { Client as Client1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as Transport1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

import { listenForCallback } from "./callback.mjs";
import { Human } from "./human.mjs";
import { SHORT, startService } from "./service.mjs";

const GENERATIONS = [
  { name: "@modelcontextprotocol/sdk 1", Client: Client1, Transport: Transport1, finish: (answer) => [answer.get("code")] },
  { name: "@modelcontextprotocol/client 2", Client: Client2, Transport: Transport2, finish: (answer) => [answer] },
];

let service, human;

before(async () => {
  service = await startService("mcp", ["--access-ttl", `${SHORT}s`]);
  human = await Human.start();
});

after(async () => {
  await human?.close();
  await service?.stop();
});

/** What a host keeps: a client id, tokens, a verifier. */
class Kept {
  constructor(redirectUrl) {
    this.redirectUrl = redirectUrl;
    this.clientMetadata = {
      client_name: "TypeScript SDK",
      redirect_uris: [redirectUrl],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
    };
    this.opened = [];
  }
  state() {
    return "a state / with ?&= signs";
  }
  clientInformation() {
    return this.client;
  }
  saveClientInformation(client) {
    this.client = client;
  }
  tokens() {
    return this.kept;
  }
  saveTokens(tokens) {
    this.kept = tokens;
  }
  redirectToAuthorization(url) {
    this.opened.push(url);
  }
  saveCodeVerifier(verifier) {
    this.verifier = verifier;
  }
  codeVerifier() {
    return this.verifier;
  }
  invalidateCredentials(which) {
    if (which === "all" || which === "tokens") this.kept = undefined;
    if (which === "all" || which === "client") this.client = undefined;
  }
  saveDiscoveryState(state) {
    this.discovered = state;
  }
  discoveryState() {
    return this.discovered;
  }
}

for (const { name, Client, Transport, finish } of GENERATIONS) {
  const start = async (context) => {
    const callback = await listenForCallback();
    context.after(() => callback.close());
    const kept = new Kept(callback.url);
    const url = new URL(`${service.url}/mcp`);
    const transport = () => new Transport(url, { authProvider: kept });
    const connect = async (over) => {
      const client = new Client({ name: "test", version: "1" });
      await client.connect(over);
      return client;
    };
    // The first connection finds out that it has to log in.
    const first = transport();
    await assert.rejects(connect(first), /unauthorized/i);
    assert.equal(kept.opened.length, 1);
    return { callback, kept, first, connect: () => connect(transport()) };
  };

  test(`${name} logs in, calls a tool, refreshes, and is revoked`, async (context) => {
    const { callback, kept, first, connect } = await start(context);
    const [url] = kept.opened;
    assert.equal(url.searchParams.get("code_challenge_method"), "S256");
    await human.approve(url.href);
    const answer = await callback.next();
    assert.equal(answer.get("state"), kept.state());
    assert.equal(answer.get("iss"), service.url);
    await first.finishAuth(...finish(answer));
    assert.match(kept.kept.access_token, /^aas_/);

    const client = await connect();
    assert.ok((await client.listTools()).tools.some((tool) => tool.name === "list_projects"));
    const { content, isError } = await client.callTool({ name: "list_projects", arguments: {} });
    assert.ok(!isError && content[0].text.includes("projects"), JSON.stringify(content));

    const before = kept.kept.access_token;
    await sleep(SHORT * 1_000 + 500);
    await client.listTools();
    assert.notEqual(kept.kept.access_token, before);
    assert.equal(kept.opened.length, 1);

    await human.revokeAll(service.url);
    await assert.rejects(client.listTools(), /unauthorized/i);
    // It asks the human again, with the client id that it has.
    assert.equal(kept.opened.length, 2);
    assert.equal(kept.opened[1].searchParams.get("client_id"), url.searchParams.get("client_id"));
    assert.equal(kept.kept, undefined);
    await client.close();
  });

  test(`${name} is denied`, async (context) => {
    const { callback, kept } = await start(context);
    await human.deny(kept.opened[0].href);
    const answer = Object.fromEntries(await callback.next());
    assert.deepEqual(answer, {
      error: "access_denied",
      error_description: "the human denied the request",
      state: kept.state(),
      iss: service.url,
    });
  });
}
