// oauth4webapi, a strict client of the RFCs: it refuses any response that is not as they say.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as oauth from "oauth4webapi";

import { listenForCallback } from "./callback.mjs";
import { Human } from "./human.mjs";
import { startService } from "./service.mjs";

const HTTP = { [oauth.allowInsecureRequests]: true };
const SCOPE = "projects:read";

let service, human, callback, resource;

before(async () => {
  service = await startService("axum");
  resource = new URL(service.url);
  human = await Human.start();
  callback = await listenForCallback();
});

after(async () => {
  await callback?.close();
  await human?.close();
  await service?.stop();
});

/** From a refusal to a registered client: RFC 9728, RFC 8414, RFC 7591. */
async function discover() {
  const refused = await projects("none").catch((error) => error);
  assert.ok(refused instanceof oauth.WWWAuthenticateChallengeError, `${refused}`);
  const [challenge] = refused.cause;
  assert.equal(challenge.scheme, "bearer");
  const metadata = await fetch(challenge.parameters.resource_metadata);
  const { authorization_servers } = await oauth.processResourceDiscoveryResponse(resource, metadata);
  const issuer = new URL(authorization_servers[0]);
  const found = await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...HTTP });
  const server = await oauth.processDiscoveryResponse(issuer, found);
  const about = { client_name: "oauth4webapi", redirect_uris: [callback.url], token_endpoint_auth_method: "none" };
  const registered = await oauth.dynamicClientRegistrationRequest(server, about, HTTP);
  const client = await oauth.processDynamicClientRegistrationResponse(registered);
  return { server, client };
}

/** Sends the human to the authorization endpoint, and validates where the browser lands (RFC 9207). */
async function authorize({ server, client }, decide) {
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const url = new URL(server.authorization_endpoint);
  url.search = new URLSearchParams({
    response_type: "code",
    client_id: client.client_id,
    redirect_uri: callback.url,
    scope: SCOPE,
    state,
    resource: resource.href,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
  });
  await decide(url.href);
  return { verifier, answer: oauth.validateAuthResponse(server, client, await callback.next(), state) };
}

function projects(token) {
  return oauth.protectedResourceRequest(token, "GET", new URL("/projects", resource), undefined, undefined, HTTP);
}

async function redeem({ server, client }, answer, verifier) {
  const auth = oauth.None();
  const more = { additionalParameters: { resource: resource.href }, ...HTTP };
  const response = await oauth.authorizationCodeGrantRequest(server, client, auth, answer, callback.url, verifier, more);
  return oauth.processAuthorizationCodeResponse(server, client, response);
}

async function refresh({ server, client }, token) {
  const response = await oauth.refreshTokenGrantRequest(server, client, oauth.None(), token, HTTP);
  return oauth.processRefreshTokenResponse(server, client, response);
}

const isRefused = (error) => error instanceof oauth.WWWAuthenticateChallengeError && error.status === 401;
const isInvalidGrant = { name: "ResponseBodyError", error: "invalid_grant", status: 400 };

test("oauth4webapi logs in, calls the API, refreshes, and revokes its session", async () => {
  const known = await discover();
  const { verifier, answer } = await authorize(known, (url) => human.approve(url));
  const first = await redeem(known, answer, verifier);
  assert.equal(first.token_type, "bearer");
  assert.equal(first.scope, SCOPE);
  assert.equal((await projects(first.access_token)).status, 200);

  const second = await refresh(known, first.refresh_token);
  assert.notEqual(second.access_token, first.access_token);
  assert.equal((await projects(second.access_token)).status, 200);
  await assert.rejects(projects(first.access_token), isRefused);

  const revoked = await oauth.revocationRequest(known.server, known.client, oauth.None(), second.refresh_token, HTTP);
  await oauth.processRevocationResponse(revoked);
  await assert.rejects(projects(second.access_token), isRefused);
  await assert.rejects(refresh(known, second.refresh_token), isInvalidGrant);
});

test("oauth4webapi redeems a code once", async () => {
  const known = await discover();
  const { verifier, answer } = await authorize(known, (url) => human.approve(url));
  const { access_token } = await redeem(known, answer, verifier);
  await assert.rejects(redeem(known, answer, verifier), isInvalidGrant);
  // A request that was sent twice at once harms nobody.
  assert.equal((await projects(access_token)).status, 200);
});

test("oauth4webapi is denied", async () => {
  const known = await discover();
  const denied = { name: "AuthorizationResponseError", error: "access_denied" };
  await assert.rejects(authorize(known, (url) => human.deny(url)), denied);
});

test("oauth4webapi is revoked by the human", async () => {
  const known = await discover();
  const { verifier, answer } = await authorize(known, (url) => human.approve(url));
  const { access_token, refresh_token } = await redeem(known, answer, verifier);
  await human.revokeAll(service.url);
  await assert.rejects(projects(access_token), isRefused);
  await assert.rejects(refresh(known, refresh_token), isInvalidGrant);
});
