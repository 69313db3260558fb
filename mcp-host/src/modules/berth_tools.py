"""Calls the tools that this command was given: those in `tools` of run_command.

    import berth_tools
    berth_tools.call("everything__get-sum", {"a": 1, "b": 2})
    berth_tools.call("weather__today", city="Oslo")

Threads may call side by side. The way to the tools is a descriptor that the command began with, and one process at a time may
use it: a program that is started by os.system or a shell inherits it, one of subprocess does not. For shells:

    python3 -m berth_tools everything__get-sum '{"a": 1, "b": 2}'
"""
import itertools
import json
import os
import queue
import socket
import sys
import threading

_NONE = "this process was given no tools: name them in `tools` of run_command, and call them from the program that it starts"
_OVER = "the tools of this command have ended, as they do with run_command's answer"


class ToolError(Exception):
    """A tool failed or may not be called. `result` is what it answered, None when it did not."""

    def __init__(self, text, result=None):
        super().__init__(text)
        self.result = result


class _Line:
    def __init__(self):
        try:
            self._socket = socket.socket(fileno=os.dup(int(os.environ["BERTH_TOOLS_FD"])))
        except (KeyError, ValueError, OSError):
            raise ToolError(_NONE) from None
        self._socket.setblocking(True)
        self._pid = os.getpid()
        # Of this process alone: an answer may still come to one that used the line before.
        self._mark = os.urandom(8).hex()
        self._numbers = itertools.count(1)
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._waiting = {}
        self._over = False
        threading.Thread(target=self._read, daemon=True).start()

    def ask(self, method, params):
        if os.getpid() != self._pid:
            raise ToolError("tools are called by the process that did so first, not by one that it forked")
        request = {"jsonrpc": "2.0", "id": f"{self._mark}-{next(self._numbers)}", "method": method, "params": params}
        text = json.dumps(request).encode() + b"\n"
        waiting = queue.SimpleQueue()
        with self._lock:
            if self._over:
                raise ToolError(_OVER)
            self._waiting[request["id"]] = waiting
        try:
            with self._sending:
                self._socket.sendall(text)
        except OSError:
            raise ToolError(_OVER) from None
        answer = waiting.get()
        if answer is None:
            raise ToolError(_OVER)
        if "error" in answer:
            raise ToolError(answer["error"]["message"])
        return answer["result"]

    def _read(self):
        try:
            with self._socket.makefile("rb") as lines:
                for line in lines:
                    try:
                        answer = json.loads(line)
                    except ValueError:
                        continue
                    with self._lock:
                        waiting = self._waiting.pop(answer.get("id"), None)
                    if waiting:
                        waiting.put(answer)
        except OSError:
            pass
        with self._lock:
            self._over = True
            left = list(self._waiting.values())
        for waiting in left:
            waiting.put(None)


_line = None
_opening = threading.Lock()


def _ask(method, params):
    global _line
    with _opening:
        if _line is None:
            _line = _Line()
    return _line.ask(method, params)


def _text(answer):
    return "\n".join(block["text"] for block in answer["content"] if block.get("type") == "text")


def tools():
    """The definitions of the tools that may be called: name, description, inputSchema."""
    return _ask("tools/list", {})["tools"]


def result(tool, arguments=None, /, **more):
    """All of a tool's answer: content blocks, structuredContent. Raises ToolError when it failed."""
    answer = _ask("tools/call", {"name": tool, "arguments": {**(arguments or {}), **more}})
    if answer.get("isError"):
        raise ToolError(_text(answer), answer)
    return answer


def call(tool, arguments=None, /, **more):
    """What a tool answers: its structured content where it has one, else its text. Raises ToolError when it failed."""
    answer = result(tool, arguments, **more)
    return answer["structuredContent"] if "structuredContent" in answer else _text(answer)


if __name__ == "__main__":
    try:
        if len(sys.argv) not in (2, 3):
            sys.exit("usage: python3 -m berth_tools TOOL ['{JSON}']")
        found = call(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) == 3 else {})
        print(found if isinstance(found, str) else json.dumps(found))
    except (ToolError, ValueError) as error:
        sys.exit(str(error))
