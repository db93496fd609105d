// The official conformance suite of MCP, in its mode for authorization servers.

import assert from "node:assert/strict";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { Human } from "./human.mjs";
import { Program, REPOSITORY, installed, startService } from "./service.mjs";

const CLIENT = `
[[oauth.clients]]
id = "conformance"
name = "MCP conformance suite"
redirect_uris = ["http://127.0.0.1/callback"]
`;

/** A warning if the service does not fetch client id metadata documents, which is a choice of the service. */
const CIMD = "authorization-server-metadata-cimd";

let folder, service, human;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "tower-agent-auth-clients-"));
  const config = join(folder, "agent-auth.toml");
  await writeFile(config, (await readFile(join(REPOSITORY, "examples/axum/agent-auth.toml"), "utf8")) + CLIENT);
  service = await startService("axum", ["--config", config]);
  human = await Human.start();
});

after(async () => {
  await human?.close();
  await service?.stop();
  await rm(folder, { recursive: true, force: true });
});

for (const resource of [[], ["--resource"]]) {
  test(`the conformance suite passes ${resource.length ? "with" : "without"} a resource`, async () => {
    const results = join(folder, `results${resource.length}`);
    const named = resource.flatMap((option) => [option, service.url]);
    const port = await freePort();
    const target = ["--url", service.url, "--client-id", "conformance", "-p", port, ...named];
    const suite = new Program(process.execPath, [installed("conformance"), "authorization", ...target, "-o", results]);
    const landed = human.approve(await suite.line("http"));
    assert.equal(await suite.ended, 0, suite.said());
    assert.match(await landed, new RegExp(`^http://127\\.0\\.0\\.1:${port}/callback\\?code=`));

    const checks = await all(results);
    const passed = checks.filter(({ status }) => status === "SUCCESS").map(({ id }) => id);
    const others = checks.filter(({ status, id }) => status !== "SUCCESS" && !(status === "WARNING" && id === CIMD));
    assert.deepEqual(others, []);
    for (const id of ["authorization-server-metadata", "authorization-code-grant"]) {
      assert.ok(passed.includes(id), `${passed} lacks ${id}`);
    }
    assert.deepEqual(await human.console(), []);
  });
}

async function all(results) {
  const scenarios = await readdir(results);
  const read = async (scenario) => JSON.parse(await readFile(join(results, scenario, "checks.json"), "utf8"));
  return (await Promise.all(scenarios.map(read))).flat();
}

/** The suite wants to be told a port. */
async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return String(port);
}
