// Two clients of the open auth.md protocol, written from its texts: one for the flat wire (up to 0.6), one for the nested
// wire (from 0.7). A human decides in a browser.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Human } from "./human.mjs";
import { startService } from "./service.mjs";

const CLAIM_GRANT = "urn:workos:agent-auth:grant-type:claim";
const JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer";

let service, human;

before(async () => {
  service = await startService("axum");
  human = await Human.start();
});

after(async () => {
  await human?.close();
  await service?.stop();
});

const json = (url, body) =>
  fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

/** From a refusal to the metadata of the authorization server. */
async function discover(url) {
  const refused = await fetch(url);
  assert.equal(refused.status, 401);
  const challenge = refused.headers.get("www-authenticate");
  const resource = await (await fetch(/resource_metadata="([^"]+)"/.exec(challenge)[1])).json();
  assert.ok(url.startsWith(resource.resource));
  const [issuer] = resource.authorization_servers;
  return (await fetch(`${issuer}/.well-known/oauth-authorization-server`)).json();
}

class Agent {
  constructor(metadata) {
    this.metadata = metadata;
  }

  async register(body) {
    const answer = await json(this.metadata.agent_auth.identity_endpoint, body);
    assert.equal(answer.status, 200);
    return answer.json();
  }

  async token(parameters) {
    const answer = await fetch(this.metadata.token_endpoint, { method: "POST", body: new URLSearchParams(parameters) });
    return { status: answer.status, ...(await answer.json()) };
  }

  exchange(assertion) {
    return this.token({ grant_type: JWT_BEARER, assertion });
  }

  async revoke(token) {
    await fetch(this.metadata.revocation_endpoint, { method: "POST", body: new URLSearchParams({ token }) });
  }

  async call(path, token) {
    return (await fetch(new URL(path, service.url), { headers: { authorization: `Bearer ${token}` } })).status;
  }
}

/** The flat wire: the agent shows a code, the human types it, and the agent polls. */
class Flat extends Agent {
  async ask() {
    this.asked = await this.register({ type: "service_auth", login_hint: "ada@example.com", client_name: "Flat agent" });
    this.interval = this.asked.claim.interval;
    return this.asked.claim;
  }

  async poll() {
    for (;;) {
      const answer = await this.token({ grant_type: CLAIM_GRANT, claim_token: this.asked.claim_token });
      if (answer.error === "slow_down") this.interval += 5;
      else if (answer.error !== "authorization_pending") return answer;
      await sleep(this.interval * 1_000);
    }
  }
}

/** The nested wire: the page shows a code, and the human reads it back. */
class Nested extends Agent {
  async ask(body) {
    this.asked = await this.register(body);
    return this.asked.claim;
  }

  async upgrade(login_hint) {
    const body = { type: "service_auth", claim_token: this.asked.claim.token, login_hint };
    const answer = await json(this.asked.claim.url, body);
    assert.equal(answer.status, 200);
    return (await answer.json()).attempt;
  }

  async complete(user_code) {
    const body = { claim_token: this.asked.claim.token, user_code };
    const answer = await json(`${this.metadata.agent_auth.claim_endpoint}/complete`, body);
    return { ...(await answer.json()), code: answer.status };
  }
}

const projects = () => new URL("/projects", service.url).href;

test("an agent of the flat wire logs in", async () => {
  const agent = new Flat(await discover(projects()));
  assert.ok(agent.metadata.agent_auth.identity_types_supported.includes("service_auth"));
  const claim = await agent.ask();
  const waiting = agent.poll();
  await human.allow(claim.verification_uri, claim.user_code);
  const tokens = await waiting;
  assert.equal(tokens.status, 200);
  assert.equal(tokens.token_type, "Bearer");
  assert.equal(await agent.call("/projects", tokens.access_token), 200);
  const again = await agent.exchange(tokens.identity_assertion);
  assert.equal(await agent.call("/projects", again.access_token), 200);
  await agent.revoke(tokens.identity_assertion);
  assert.equal(await agent.call("/projects", again.access_token), 401);
});

test("an agent of the flat wire is denied", async () => {
  const agent = new Flat(await discover(projects()));
  const claim = await agent.ask();
  await human.open(claim.verification_uri);
  await human.click("button[value=deny]");
  await human.reads("Denied");
  assert.equal((await agent.poll()).error, "access_denied");
});

test("an agent of the nested wire logs in", async () => {
  const agent = new Nested(await discover(projects()));
  const claim = await agent.ask({ type: "service_auth", login_hint: "ada@example.com" });
  await human.allow(claim.attempt.verification_uri);
  const code = await human.script("return document.querySelector('#code').innerText");
  assert.equal((await agent.complete("000000")).error, "invalid_user_code");
  const completed = await agent.complete(code);
  assert.equal(completed.code, 200);
  assert.equal(completed.status, "claimed");
  const { identity } = completed;
  const tokens = await agent.exchange(identity.assertion);
  assert.equal(await agent.call("/projects", tokens.access_token), 200);
  const renewed = await agent.register({ type: "refresh", refresh_token: identity.refresh_token.value });
  assert.equal((await agent.exchange(renewed.identity.assertion)).status, 200);
  // The page that waits for the agent says that it came.
  await human.reads("Approved, and collected");
  await human.revokeAll(service.url);
  assert.equal(await agent.call("/projects", tokens.access_token), 401);
  assert.equal((await agent.exchange(renewed.identity.assertion)).error, "invalid_grant");
});

test("an anonymous agent acts at once, and its human claims it later", async () => {
  const agent = new Nested(await discover(projects()));
  await agent.ask({ type: "anonymous" });
  const before = await agent.exchange(agent.asked.identity.assertion);
  assert.equal(await agent.call("/projects", before.access_token), 200);
  const attempt = await agent.upgrade("ada@example.com");
  await human.allow(attempt.verification_uri);
  const { identity } = await agent.complete(await human.script("return document.querySelector('#code').innerText"));
  assert.equal(await agent.call("/projects", before.access_token), 401);
  const tokens = await agent.exchange(identity.assertion);
  assert.equal(await agent.call("/projects", tokens.access_token), 200);
  await agent.revoke(identity.assertion);
});
