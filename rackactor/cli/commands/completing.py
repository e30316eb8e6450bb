"""`rack complete`: completion scripts for shells, which need no package beside the shell itself.

Each script knows the commands, their options and the choices of each option, as of when it is printed; every other
argument is completed as a file.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cliff.command import Command

from rackactor.records import dataclass


@dataclass(frozen=True)
class Option:
    """An option of a command.

    Attributes:
        words: its spellings: "-f", "--format".
        choices: the values that may follow it; none: any.
        takes: whether it takes an argument.
        text: its description.
    """

    words: tuple[str, ...]
    choices: tuple[str, ...]
    takes: bool
    text: str


@dataclass(frozen=True)
class Verb:
    """A command, or the common first words of several commands.

    Attributes:
        name: its words: "group show"; "" for `rack` itself.
        text: its description, in a line.
        below: the words that may follow.
        options: its options.
    """

    name: str
    text: str
    below: tuple[str, ...]
    options: tuple[Option, ...]


class Complete(Command):
    """Print a script with which a shell completes rack's commands: eval "$(rack complete --shell bash)".

    For fish: rack complete --shell fish | source. Put this line into a startup file of the shell to have it always.
    """

    def get_epilog(self) -> str:
        """Return the text below the options."""
        return self._epilog or ""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--shell", choices=sorted(_SHELLS), default="bash", help="(default: %(default)s)")
        parser.add_argument("--name", default="rack", metavar="COMMAND", help="complete this command (default: rack)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Print it."""
        print(_SHELLS[parsed_args.shell](parsed_args.name, list(verbs(self.app))))


def verbs(app: Any) -> Iterator[Verb]:
    """Yield all commands of an application, and their first words, the shorter ones first."""
    find: Any = app.command_manager.find_command
    known: dict[str, Any] = {name: find(name.split())[0] for name, _ in app.command_manager}
    heads = {" ".join(words[:length]) for words in map(str.split, known) for length in range(len(words))}
    for name in sorted(heads | set(known)):
        begin = "" if name in ("", "help") else f"{name} "
        below = {full.removeprefix(begin).split()[0] for full in known if full.startswith(begin) and full != name}
        made: Any = app if not name else known[name](app, None) if name in known else None
        parser = None if made is None else made.parser if made is app else made.get_parser("rack")
        yield Verb(
            name,
            _line(parser.description) if parser else f"commands about: {', '.join(sorted(below))}",
            tuple(sorted(below)),
            () if parser is None else tuple(_options(parser)),
        )


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:
        if action.option_strings:
            text = "" if action.help in (None, argparse.SUPPRESS) else parser._get_formatter()._expand_help(action)
            choices = tuple(str(choice) for choice in action.choices or ())
            yield Option(tuple(action.option_strings), choices, action.nargs != 0, _line(text))


def _line(text: str | None) -> str:
    return " ".join((text or "").strip().partition("\n\n")[0].split())


# -- bash and zsh ------------------------------------------------------------------------------------------

#: Common to both: the words of each command, the choices of each option, and whether it takes an argument.
_TABLES = """\
_{id}_words() {{
    case "$1" in
{words}
    *) return 1 ;;
    esac
}}
_{id}_choices() {{
    case "$1" in
{choices}
    *) return 1 ;;
    esac
}}
_{id}_takes() {{ # whether a word follows an option
    case "$1" in
{takes}) return 0 ;;
    *) return 1 ;;
    esac
}}
"""

_BASH = """\
{tables}_{id}() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD - 1]}}" verb="" next="" i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ "${{COMP_WORDS[i]}}" == -* ]]; then
            _{id}_takes "$verb ${{COMP_WORDS[i]}}" && ((i++))
            continue
        fi
        next="${{verb:+$verb }}${{COMP_WORDS[i]}}"
        _{id}_words "$next" >/dev/null || break
        verb="$next"
    done
    if [[ "$verb" == run && $i -lt $COMP_CWORD ]]; then
        return 0 # the words of another program
    fi
    if _{id}_choices "$verb $previous" >/dev/null; then
        COMPREPLY=($(compgen -W "$(_{id}_choices "$verb $previous")" -- "$current"))
    else
        COMPREPLY=($(compgen -W "$(_{id}_words "$verb" "$current")" -- "$current"))
    fi
}}
complete -o bashdefault -o default -F _{id} {name}"""

_ZSH = """\
#compdef {name}
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit -D; }}
{tables}_{id}() {{
    local current="$words[CURRENT]" previous="$words[CURRENT-1]" verb="" next="" i
    local -a found
    for ((i = 2; i < CURRENT; i++)); do
        if [[ "$words[i]" == -* ]]; then
            _{id}_takes "$verb $words[i]" && ((i++))
            continue
        fi
        next="${{verb:+$verb }}$words[i]"
        _{id}_words "$next" >/dev/null || break
        verb="$next"
    done
    if [[ "$verb" == run && $i -lt $CURRENT ]]; then
        _files
        return
    fi
    if _{id}_choices "$verb $previous" >/dev/null; then
        found=(${{=$(_{id}_choices "$verb $previous")}})
    else
        found=(${{=$(_{id}_words "$verb" "$current")}})
    fi
    if (( $#found )); then
        compadd -a found || _files
    else
        _files
    fi
}}
compdef _{id} {name}"""


def _posix(template: str, name: str, known: Sequence[Verb]) -> str:
    """Return a script for bash or zsh: it offers options after a dash, and otherwise commands."""
    words, choices, takes = [], [], []
    for verb in known:
        options = shlex.quote(" ".join(word for option in verb.options for word in option.words))
        below = shlex.quote(" ".join(verb.below))
        words.append(f'    {shlex.quote(verb.name)}) case "$2" in -*) echo {options} ;; *) echo {below} ;; esac ;;')
        for option in verb.options:
            patterns = "|".join(shlex.quote(f"{verb.name} {word}") for word in option.words)
            if option.takes:
                takes.append(patterns)
            if option.choices:
                choices.append(f"    {patterns}) echo {shlex.quote(' '.join(option.choices))} ;;")
    tables = _TABLES.format(
        id=_identifier(name),
        words="\n".join(words),
        choices="\n".join(choices),
        takes="    " + "|".join(takes),
    )
    return template.format(id=_identifier(name), name=name, tables=tables)


# -- fish --------------------------------------------------------------------------------------------------

_FISH = """\
set -g __{id}_verbs {verbs}
set -g __{id}_takes {takes}
function __{id}_at
    set -l verb ''
    set -l value no
    for word in (commandline -opc)[2..-1]
        if test $value = yes
            set value no
        else if string match -q -- '-*' $word
            contains -- "$verb $word" $__{id}_takes; and set value yes
        else
            set -l next (string trim -- "$verb $word")
            if not contains -- $next $__{id}_verbs
                test "$verb" = run; and return 1 # the words of another program
                break
            end
            set verb $next
        end
    end
    test "$verb" = "$argv[1]"
end
{lines}"""


def _fish(name: str, known: Sequence[Verb]) -> str:
    texts = {verb.name: verb.text for verb in known}
    lines = []
    takes = [
        f"{verb.name} {word}" for verb in known for option in verb.options if option.takes for word in option.words
    ]
    for verb in known:
        here = f"complete -c {name} -n '__{_identifier(name)}_at \"{verb.name}\"'"
        for word in verb.below:
            text = texts.get(f"{verb.name} {word}".strip(), "")
            lines.append(f"{here} -f -a {_fish_word(word)} -d {_fish_word(text)}")
        lines += [f"{here} {_fish_option(option)}" for option in verb.options]
    return _FISH.format(
        id=_identifier(name),
        verbs=" ".join(_fish_word(verb.name) for verb in known if verb.name),
        takes=" ".join(_fish_word(word) for word in takes),
        lines="\n".join(lines),
    )


def _fish_option(option: Option) -> str:
    words = [f"-l {word[2:]}" if word.startswith("--") else f"-s {word[1:]}" for word in option.words]
    if option.choices:
        words.append(f"-x -a {_fish_word(' '.join(option.choices))}")
    elif option.takes:
        words.append("-r")
    return f"{' '.join(words)} -d {_fish_word(option.text)}"


def _fish_word(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _identifier(name: str) -> str:
    return "".join(character if character.isalnum() and character.isascii() else "_" for character in name)


_SHELLS: dict[str, Callable[[str, Sequence[Verb]], str]] = {
    "bash": lambda name, known: _posix(_BASH, name, known),
    "fish": _fish,
    "zsh": lambda name, known: _posix(_ZSH, name, known),
}
