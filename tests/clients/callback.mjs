// The loopback listener of a client in this process, where the browser brings the authorization response.

import { createServer } from "node:http";

export async function listenForCallback() {
  const arrived = [];
  const waiting = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url, "http://127.0.0.1");
    response.writeHead(url.pathname === "/callback" ? 200 : 404, { "content-type": "text/plain", connection: "close" });
    response.end("You can close this page.\n");
    if (url.pathname !== "/callback") return;
    const wake = waiting.shift();
    if (wake) wake(url.searchParams);
    else arrived.push(url.searchParams);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/callback`,
    /** The parameters of the next authorization response. */
    next: () => new Promise((resolve) => (arrived.length ? resolve(arrived.shift()) : waiting.push(resolve))),
    close: () => new Promise((resolve) => server.close(resolve)),
  };
}
