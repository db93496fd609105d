// Lists the tools of every MCP server of codex, through its app server: no account and no model.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const server = spawn("codex", ["app-server"], { stdio: ["pipe", "pipe", "inherit"] });
const send = (message) => server.stdin.write(`${JSON.stringify(message)}\n`);
createInterface({ input: server.stdout }).on("line", (line) => {
  const message = JSON.parse(line);
  if (message.id === 1) {
    send({ method: "initialized" });
    send({ id: 2, method: "mcpServerStatus/list", params: {} });
  }
  if (message.id === 2) {
    console.log(JSON.stringify(message.result ?? message.error));
    server.kill();
  }
});
send({ id: 1, method: "initialize", params: { clientInfo: { name: "test", title: "test", version: "1" } } });
