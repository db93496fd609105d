"""The MCP SDK for Python, and fastmcp, as programs that a test directs.

    python_client.py sdk|fastmcp MCP_URL

It logs in and lists the tools, and once more for each line that it reads. The SDK's login tells the test which URL to
open (`open URL`) and listens for the answer itself; fastmcp does both alone, with $BROWSER.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit


def say(word: str, text: str) -> None:
    print(word, " ".join(text.split()), flush=True)


def causes(error: BaseException) -> str:
    """The text of an error; of a group, the texts of what is in it."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(causes(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"


class Listener:
    """Waits on a free port for the authorization response."""

    async def start(self) -> str:
        self.answers: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/callback"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        url = urlsplit(head.split(" ")[1])
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nDone\n")
        await writer.drain()
        writer.close()
        if url.path == "/callback":
            self.answers.put_nowait({name: values[0] for name, values in parse_qs(url.query).items()})


class Memory:
    """A token storage of the SDK."""

    def __init__(self) -> None:
        self.tokens = self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens) -> None:
        self.tokens = tokens
        say("token", tokens.access_token[:4])

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client) -> None:
        self.client = client


async def by_sdk(url: str) -> None:
    import httpx2
    from mcp import ClientSession
    from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared.auth import OAuthClientMetadata

    listener = Listener()
    redirect_uri = await listener.start()

    async def open_browser(authorization_url: str) -> None:
        say("open", authorization_url)

    async def answer() -> AuthorizationCodeResult:
        parameters = await listener.answers.get()
        if "error" in parameters:
            raise RuntimeError(f"{parameters['error']}: {parameters.get('error_description')}")
        return AuthorizationCodeResult(
            code=parameters["code"], state=parameters.get("state"), iss=parameters.get("iss")
        )

    about = OAuthClientMetadata(client_name="Python SDK", redirect_uris=[redirect_uri])
    login = OAuthClientProvider(url, about, Memory(), open_browser, answer)

    async def tools() -> list[str]:
        async with (
            httpx2.AsyncClient(auth=login) as http,
            streamable_http_client(url, http_client=http) as streams,
            ClientSession(streams[0], streams[1]) as session,
        ):
            await session.initialize()
            say("called", str((await session.call_tool("list_projects", {})).content))
            return [tool.name for tool in (await session.list_tools()).tools]

    await again_and_again(tools)


async def by_fastmcp(url: str) -> None:
    from fastmcp import Client
    from fastmcp.client.auth import OAuth

    login = OAuth(client_name="fastmcp")

    async def tools() -> list[str]:
        async with Client(url, auth=login) as client:
            say("called", str((await client.call_tool("list_projects", {})).content))
            return [tool.name for tool in await client.list_tools()]

    await again_and_again(tools)


async def again_and_again(tools: Callable[[], Awaitable[list[str]]]) -> None:
    """Lists the tools once, and again for each line."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            say("tools", " ".join(await tools()))
        except Exception as error:  # the test wants to know what a user is told
            say("failed", causes(error))
        if not await loop.run_in_executor(None, sys.stdin.readline):
            return


if __name__ == "__main__":
    asyncio.run({"sdk": by_sdk, "fastmcp": by_fastmcp}[sys.argv[1]](sys.argv[2]))
