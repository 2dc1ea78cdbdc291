"""Reading run files: the text, and the values of all keys after checks that say everything that is wrong at once."""

from __future__ import annotations

__all__ = ["MAX_BYTES", "Check", "RunFileError", "parse"]

import codecs
import re
import sys
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from wflow.checks import did_you_mean, shown
from wflow.errors import InputError
from wflow.runfile.sections import DATA, ENCODER_KEYS, GROUPS, LAWS, REQUIRED, SECTIONS, Key

#: A trajectory keeps the run file in an attribute, and attributes of HDF5 have less than 64 kB.
MAX_BYTES = 60_000
MANY_DOTS = re.compile(r"""(\.[ \t]*["']?[\w-]{1,80}["']?[ \t]*){30}""")


class RunFileError(InputError):
    """A run file that cannot be used: ``problems`` has one line for everything that is wrong with it."""

    def __init__(self, problems: Collection[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def parse(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a run file, and its content as TOML."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise RunFileError([f"{path}: cannot be read: it is {'a folder' * path.is_dir() or 'no regular file'}"])
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise RunFileError([f"{path}: the file has more than {MAX_BYTES} bytes; keep arrays in an .npz file"])
        text = content.decode("utf-8-sig")  # editors of Windows mark UTF-8
        if MANY_DOTS.search(text):  # which take minutes to parse
            raise RunFileError([f"{path}: has a key of more than 30 parts; keys have at most four"])
        return text, tomllib.loads(text)
    except RunFileError:
        raise
    except OSError as error:
        raise RunFileError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        hint = "; it looks like UTF-16: save it as UTF-8" if utf16 else ""
        raise RunFileError([f"{path}: is not a text file: no UTF-8 at byte {error.start}{hint}"]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RunFileError([f"{path}: is not valid TOML: {error}"]) from None
    except ValueError:  # Python reads no integer of thousands of digits
        raise RunFileError([f"{path}: has an integer of more than {sys.get_int_max_str_digits()} digits"]) from None


class Check:
    """Checks the content of a run file and collects its problems; a section with a problem is *broken*."""

    def __init__(self, file: str) -> None:
        self.name = file
        self.problems: list[str] = []
        self.broken: set[str] = set()

    def say(self, problem: str, section: str = "", hint: str = "", breaks: str | None = None) -> None:
        """Note a problem, in one line without control codes."""
        line = f"{self.name}: {problem}{section and f' in [{section}]'}{hint}"
        self.problems.append("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line))
        self.broken.add(section if breaks is None else breaks)

    def file(self, content: dict[str, Any]) -> dict[str, Any]:
        """The values of a file with all defaults filled in; None for an encoder without a section."""
        sections = [name for name in SECTIONS if name and "." not in name]
        top = {name: value for name, value in content.items() if name in SECTIONS[""] or not isinstance(value, dict)}
        config = self.table({name: value for name, value in top.items() if name not in sections}, SECTIONS[""], "")
        for name in [name for name in content if name not in sections and name not in top]:
            hint = did_you_mean(name, sections, "[{}]")
            meant = next((section for section in sections if f"[{section}]" in hint), name)
            hint = hint or f"; the sections are {', '.join(sections)}"
            self.say(f"unknown section [{name}]", "", hint, breaks=meant)
        for name in ("data", "initial", "solve"):
            if name not in content and name not in self.broken:
                self.say(f"missing section [{name}]", breaks=name)
        if not {"attention", "feedforward"} & (content.keys() | self.broken):
            self.say("missing section [attention], [feedforward] or both", breaks="objective")
        readers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "data": lambda values: self.variant(values, "kind", DATA, "data"),
            "attention": lambda values: self.variant(values, "kind", ENCODER_KEYS, "attention"),
            "feedforward": lambda values: self.variant(values, "kind", ENCODER_KEYS, "feedforward"),
            "initial": self.initial,
            "solve": self.solve,
        }
        for name in sections:
            values = content.get(name, {})
            if not isinstance(values, dict):
                self.say(f"{name} must be a section [{name}], got {shown(values)}", breaks=name)
            elif name not in content and name in readers:
                config[name] = None
            else:
                config[name] = readers[name](values) if name in readers else self.table(values, SECTIONS[name], name)
        return config

    def table(self, content: Mapping[str, Any], keys: Mapping[str, Key], section: str) -> dict[str, Any]:
        """The values of a section."""
        values, meant = {}, ""
        for name in [name for name in content if name not in keys]:
            homes = [home for home in SECTIONS if name in SECTIONS[home] | ENCODER_KEYS.get(home, {})]
            home = next((home for home in homes if home not in ("", section)), None)
            elsewhere = f"; it belongs to [{home}]" if home else f"; the keys are {', '.join(keys)}"
            hint = did_you_mean(name, keys)
            self.say(f"unknown key {name!r}", section, hint or elsewhere)
            meant += hint
        for name, key in keys.items():
            values[name] = key.default
            if name not in content:
                if key.default is REQUIRED and repr(name) not in meant:
                    self.say(f"missing key {name!r}, {key.words},", section)
            elif key.accepts(content[name]):
                values[name] = key.stored(content[name])
            else:
                hint = key.hint(content[name])
                self.say(f"{name} must be {key.words}, got {shown(content[name])}", section, hint)
        return values

    def variant(
        self, content: dict[str, Any], selector: str, variants: Mapping[str, dict[str, Key]], section: str
    ) -> dict[str, Any]:
        """The values of a section whose keys depend on one of them."""
        keys = dict(SECTIONS.get(section, {}))
        chosen = content.get(selector, keys.setdefault(selector, Key(tuple(variants))).default)
        if isinstance(chosen, str) and chosen in variants:
            return self.table(content, keys | variants[chosen], section)
        elsewhere = {name for variant in variants.values() for name in variant}  # cannot be judged without the choice
        return self.table({name: content[name] for name in content if name not in elsewhere}, keys, section)

    def initial(self, given: dict[str, Any]) -> dict[str, Any]:
        """Section [initial] and its sections of blocks and groups."""
        own = {k: v for k, v in given.items() if isinstance(v, dict) and k not in ("M", "box", "cells")}
        if not own:
            values = self.variant(given, "law", LAWS, "initial")
            random = values["law"] != "atoms"
        else:
            rest = {name: value for name, value in given.items() if name not in own}
            if "law" in rest:
                self.say(f"give law or sections such as [initial.{next(iter(own))}], not both,", "initial")
                known = {"law"} | {name for keys in LAWS.values() for name in keys}
                rest = {name: value for name, value in rest.items() if name not in known}
            values = self.table(rest, SECTIONS["initial"], "initial")
            for name, law in own.items():
                if name not in GROUPS:
                    hint = did_you_mean(name, SECTIONS["initial"]) or did_you_mean(name, GROUPS, "[initial.{}]")
                    hint = hint or f"; the names are {', '.join(GROUPS)}"
                    self.say(f"unknown section [initial.{name}]", "", hint, breaks="initial")
                values[name] = self.variant(law, "law", LAWS, f"initial.{name}")
            random = any(values[name]["law"] != "atoms" for name in own)
        if "initial" in self.broken:
            return values
        if values["cells"] is not None or values["box"] is not None:
            for name in ("M", "kind", "dtype"):
                if name in given:
                    self.say(
                        f"{name} belongs to particles, cells and box to densities: leave out {name},",
                        "initial",
                    )
            if values["cells"] is None or values["box"] is None:
                self.say("cells and box belong together: densities need both", "initial")
        elif random and values["M"] is None:
            self.say("missing key 'M', the number of particles (or cells and box, for densities),", "initial")
        return values

    def solve(self, given: dict[str, Any]) -> dict[str, Any]:
        """Section [solve] and its section [solve.save]."""
        values = self.table(given, SECTIONS["solve"], "solve")
        if "solve" not in self.broken and values["tau_end"] <= values["tau_start"]:
            self.say(f"tau_end must be after tau_start = {values['tau_start']}, got {values['tau_end']}", "solve")
        if values["dtau"] is not None:
            for name in ("rtol", "atol"):
                if name in given:
                    self.say(f"{name} belongs to adaptive steps: leave out {name} or dtau", "solve")
                values[name] = None
        if values["save"] is not None:
            values["save"] = self.table(values["save"], SECTIONS["solve.save"], "solve.save")
        return values
