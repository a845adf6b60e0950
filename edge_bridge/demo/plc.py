"""A simulated legacy PLC: a real Modbus TCP server whose holding registers replay real data.

python -m edge_bridge.demo.plc --profile turbine --port 15020 --state turbine.json

`--profile`, `--port` and `--state` may be given several times, in step, to serve several PLCs from one process. The
register map is in docs/edge-protocol.md. A restart resumes where the replay was; without `--state` it begins again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_bridge.demo.machine import REGISTERS, Refused, ReplayPlc, StateError
from edge_bridge.demo.replay import LOADERS, load

log = logging.getLogger("phasegate.plc")
READ, WRITE = {3, 4}, {6, 16}
SAVE_EVERY = 1.0
TICK_EVERY = 0.2


class PlcServer:
    """One PLC on one port; use `await start()` and `await stop()` in a running loop. Port 0 takes a free one
    (`port`)."""

    def __init__(self, plc: ReplayPlc, *, host: str = "127.0.0.1", port: int = 502, device_id: int = 1) -> None:
        self.plc = plc
        self.host, self.port, self.device_id = host, port, device_id
        self._server: ModbusTcpServer | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen; RuntimeError if the port is taken."""
        registers = SimData(0, count=REGISTERS, values=0, datatype=DataType.REGISTERS)
        device = SimDevice(id=self.device_id, simdata=[registers], action=self._serve)
        self._server = ModbusTcpServer(device, address=(self.host, self.port), ignore_missing_devices=True)
        await self._server.serve_forever(background=True)
        if self.port == 0:
            # pymodbus says nothing of the port it was given; its listening socket does.
            self.port = self._server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self._keeper = asyncio.create_task(self._keep())
        log.info(
            "%s on %s:%d, row %d of %d",
            self.plc.replay.name,
            self.host,
            self.port,
            self.plc.position,
            len(self.plc.replay),
        )

    async def stop(self) -> None:
        """Close all connections and save the state."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if self._server is not None:
            await self._server.shutdown()
        self.plc.save()

    async def _serve(
        self, function: int, start: int, address: int, count: int, registers: list[int], values: Sequence[int] | None
    ) -> ExcCodes | None:
        self.plc.tick(time.monotonic())
        if values is None and function in READ:
            registers[address - start : address - start + count] = self.plc.read(address, count)
            return None
        if values is not None and function in WRITE:
            try:
                self.plc.write(address, values)
            except Refused:
                return ExcCodes.ILLEGAL_VALUE
            return None
        return ExcCodes.ILLEGAL_FUNCTION

    async def _keep(self) -> None:
        saved = time.monotonic()
        while True:
            await asyncio.sleep(TICK_EVERY)
            now = time.monotonic()
            self.plc.tick(now)
            if now - saved >= SAVE_EVERY:
                self.plc.save()
                saved = now


async def serve(servers: Sequence[PlcServer], stop: asyncio.Event) -> None:
    """Run the servers until `stop` is set, then save."""
    started: list[PlcServer] = []
    try:
        for server in servers:
            await server.start()
            started.append(server)
        await stop.wait()
    finally:
        for server in started:
            await server.stop()


async def _run(servers: Sequence[PlcServer]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(servers, stop)


def parser() -> argparse.ArgumentParser:
    """Command line of the PLC."""
    made = argparse.ArgumentParser(prog="python -m edge_bridge.demo.plc", description=__doc__.split("\n", 1)[0])
    made.add_argument("--profile", action="append", required=True, choices=sorted(LOADERS), help="what to replay")
    made.add_argument("--port", action="append", required=True, type=int, help="TCP port, 0 for a free one")
    made.add_argument("--state", action="append", type=Path, default=[], help="file that keeps the replay's position")
    made.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    made.add_argument("--device-id", type=int, default=1, help="Modbus device id (1)")
    made.add_argument("--pace", type=float, default=4.0, help="rows a second, 0 = as fast as they are read (4)")
    made.add_argument(
        "--start-row",
        action="append",
        type=int,
        default=[],
        help="0-based row to begin at when there is no state yet (0)",
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 0 after a clean stop, 2 with a sentence on standard error if it cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s plc %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    given = parser().parse_args(arguments)
    n = len(given.profile)
    if len(given.port) != n or len(given.state) not in (0, n) or len(given.start_row) not in (0, n):
        parser().error("give --port (and --state, --start-row, if at all) once for each --profile")
    if not 0 <= given.pace <= 655:
        parser().error("--pace must lie between 0 and 655 rows a second")
    try:
        servers = [
            PlcServer(
                ReplayPlc(
                    load(profile),
                    state=given.state[i] if given.state else None,
                    pace=given.pace,
                    start_row=given.start_row[i] if given.start_row else 0,
                ),
                host=given.host,
                port=given.port[i],
                device_id=given.device_id,
            )
            for i, profile in enumerate(given.profile)
        ]
        asyncio.run(_run(servers))
    except StateError as error:
        log.error("%s", error)
        return 2
    except RuntimeError as error:
        log.error("cannot listen on %s, port %s: %s", given.host, ", ".join(map(str, given.port)), error)
        return 2
    except OSError as error:
        log.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
