// The MCP SDK for Python, and fastmcp: python_client.py.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { Human } from "./human.mjs";
import { Program, SHORT, TARGET, standInBrowser, startService } from "./service.mjs";

const PYTHON = join(TARGET, "clients/python/bin/python");
const SCRIPT = fileURLToPath(new URL("python_client.py", import.meta.url));

let service, human;

before(async () => {
  service = await startService("mcp", ["--access-ttl", `${SHORT}s`]);
  human = await Human.start();
});

after(async () => {
  await human?.close();
  await service?.stop();
});

for (const which of ["sdk", "fastmcp"]) {
  const start = async (context) => {
    const browser = await standInBrowser();
    const program = new Program(PYTHON, [SCRIPT, which, `${service.url}/mcp`], { env: browser.env });
    context.after(async () => {
      await program.stop();
      await browser.close();
    });
    const opened = () => (which === "sdk" ? program.word("open") : browser.next());
    return { program, opened };
  };

  test(`${which} of Python logs in, calls a tool, refreshes, and asks again after it is revoked`, async (context) => {
    const { program, opened } = await start(context);
    await human.approve(await opened());
    assert.match(await program.word("called"), /projects/);
    assert.match(await program.word("tools"), /\blist_projects\b/);

    // Nobody is asked now: a browser that nobody sends on would wait for ever.
    await sleep(SHORT * 1_000 + 500);
    program.write("again");
    await program.word("called");
    await program.word("tools");

    await human.revokeAll(service.url);
    program.write("again");
    await human.approve(await opened());
    assert.match(await program.word("tools"), /\blist_projects\b/);
    assert.doesNotMatch(program.stdout, /^failed/m);
  });

  test(`${which} of Python is denied`, async (context) => {
    const { program, opened } = await start(context);
    await human.deny(await opened());
    assert.match(await program.word("failed"), /access_denied: the human denied the request|Access was denied by the authorization server/);
  });
}
