"""How the demo looks: bold titles and prompts on a terminal, plain text elsewhere."""

import os
import shutil
import sys
import textwrap

WIDTH = 96
BOLD, GREEN, RESET = "\033[1m", "\033[32m", "\033[0m"


class Screen:
    """Standard output, written in the order in which things happen."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty()
        self.coloured = self.is_terminal and "NO_COLOR" not in os.environ
        self.width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
        self.steps = 0

    def title(self, text: str) -> None:
        """Begin a step."""
        self.steps += 1
        self.line(f"\n{self.styled(f'{self.steps}. {text}', BOLD)}")

    def say(self, text: str) -> None:
        """A paragraph in plain words."""
        self.line(textwrap.fill(" ".join(text.split()), self.width, break_on_hyphens=False))

    def command(self, host: str, typed: str) -> None:
        """A command as it is typed on `host`."""
        first, *more = typed.split("\n")
        self.line(self.styled(f"root@{host}:~# ", GREEN) + self.styled(first, BOLD))
        for line in more:
            self.line(self.styled(line, BOLD))

    def table(self, rows: list[tuple[str, str]]) -> None:
        """Names and values, aligned."""
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self.line(f"  {name.ljust(width)}  {value}")

    def line(self, text: str) -> None:
        """One line, or several."""
        print(text, flush=True)

    def raw(self, output: bytes) -> None:
        """What a command has printed, as it comes."""
        sys.stdout.buffer.write(output)
        sys.stdout.buffer.flush()

    def styled(self, text: str, style: str) -> str:
        """`text` in `style`, where that can be seen."""
        return f"{style}{text}{RESET}" if self.coloured else text
