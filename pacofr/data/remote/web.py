"""Answers of web servers within bounds: bytes, seconds, redirections, and the part asked for.

Imports aiohttp, which fsspec reads http:// and https:// with.
"""

import asyncio
import re
from types import SimpleNamespace
from typing import Any

import aiohttp
from yarl import URL

from pacofr.errors import UserError
from pacofr.utils.budgets import LISTING_BYTES, SLOWEST_BYTES

CONNECT_SECONDS, READ_SECONDS = 30.0, 30.0
"""How long a server may be silent."""
PIECE = 1 << 20


def client_options() -> dict[str, Any]:
    """Arguments of `aiohttp.ClientSession`."""
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS
    )
    redirects = aiohttp.TraceConfig()
    redirects.on_request_redirect.append(_check_redirect)
    return {
        "timeout": timeout,
        "response_class": BoundedResponse,
        "trace_configs": [redirects],
    }


class BoundedResponse(aiohttp.ClientResponse):
    """An answer that is no longer, no slower and no other part of the file than was asked for."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Read the headers."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await super().start(connection)
        except TimeoutError as error:
            raise aiohttp.ServerTimeoutError(f"no answer in {READ_SECONDS:.0f} s") from error

    def raise_for_status(self) -> None:
        """Raise for statuses that are errors, and for those that come without content.

        Raises:
            aiohttp.ClientError: so it is, or it is another part of the file.
        """
        super().raise_for_status()
        if self.status not in (200, 206):
            raise aiohttp.ClientPayloadError(f"status {self.status} without content")
        self._check_part()

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            aiohttp.ClientError: it is longer or slower than allowed, or the wrong part.
        """
        if self._body is None:
            if self.status in (200, 206):
                self._check_part()
            limit = self._longest()
            pieces, size = [], 0
            try:
                async with asyncio.timeout(READ_SECONDS + limit / SLOWEST_BYTES):
                    while piece := await self.content.read(PIECE):
                        size += len(piece)
                        if size > limit:
                            raise aiohttp.ClientPayloadError(f"it sends more than {limit} bytes")
                        pieces.append(piece)
            except TimeoutError as error:
                self.close()
                slow = f"it sent {size} bytes, less than {SLOWEST_BYTES} a second"
                raise aiohttp.ClientPayloadError(slow) from error
            except BaseException:
                self.close()
                raise
            self._body = b"".join(pieces)
        return await super().read()

    def _asked(self) -> tuple[int, int] | None:
        """First and last byte of the part that was asked for."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.request_info.headers.get("Range", ""))
        return (int(asked[1]), int(asked[2])) if asked else None

    def _longest(self) -> int:
        asked = self._asked()
        return asked[1] - asked[0] + 1 if asked and self.status == 206 else LISTING_BYTES

    def _check_part(self) -> None:
        asked = self._asked()
        if asked is None:
            return
        sent = self.headers.get("Content-Range", "")
        part = re.match(r"bytes (\d{1,19})-", sent)
        begin = 0 if self.status == 200 else part and int(part[1])
        if begin != asked[0]:
            self.close()
            got = f"the part {sent[:60]!r}" if self.status == 206 else "the whole file"
            raise aiohttp.ClientPayloadError(
                f"it sent {got} where the bytes {asked[0]}-{asked[1]} were asked for"
            )


async def _check_redirect(
    session: aiohttp.ClientSession,
    context: SimpleNamespace,
    about: aiohttp.TraceRequestRedirectParams,
) -> None:
    """Go only to https or to the same host."""
    headers = about.response.headers
    try:
        target = about.url.join(URL(headers.get("Location", headers.get("URI", ""))))
    except ValueError:  # aiohttp says so
        return
    if target.scheme != "https" and target.host != about.url.host:
        shown = [
            url.with_query(None).with_user(None) if url.host else url for url in (about.url, target)
        ]
        raise UserError(
            f"{shown[0]} redirects to {shown[1]}: expected https or the same host; give that"
            " address itself if it is the right one"
        )
