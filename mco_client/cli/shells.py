# SPDX-License-Identifier: Apache-2.0
"""How each shell asks for the words that may come next, and how it is answered; it knows nothing of what they are.

An answer is a line a word; where the shell shows them, a tab and a description follow. A first line that begins with
a colon says what else the shell shall do: ``:files`` or ``:folders`` to offer those, ``:open`` not to end the word.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from click.shell_completion import CompletionItem

SEPARATOR = "\x1f"

BASH = r"""_mco_completion() {
    local program=$1 line
    type -P -- "$program" >/dev/null || program=mco
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            :files) compopt -o default 2>/dev/null ;;
            :folders) compopt -o dirnames 2>/dev/null ;;
            :open) compopt -o nospace 2>/dev/null ;;
            *) COMPREPLY+=("$line") ;;
        esac
    done < <(_MCO_COMPLETE=bash _MCO_LINE="${COMP_LINE:0:COMP_POINT}" _MCO_BREAKS="$COMP_WORDBREAKS" \
        command "$program" </dev/null 2>/dev/null)
}
complete -F _mco_completion mco
"""
ZSH = r"""#compdef mco
_mco() {
    local program=${(Q)words[1]} line
    local -a whole open whole_shown open_shown before=("${(@Q)words[1,CURRENT-1]}")
    whence -p -- "$program" >/dev/null || program=mco
    while IFS= read -r line; do
        case $line in
            (:files) _files ;;
            (:folders) _files -/ ;;
            (:open) ;;
            (*)
                local word=${line%%$'\t'*}
                if [[ $word == *[=/] ]]; then
                    open+=("$word") open_shown+=("${line/$'\t'/  -- }")
                else
                    whole+=("$word") whole_shown+=("${line/$'\t'/  -- }")
                fi ;;
        esac
    done < <(_MCO_COMPLETE=zsh _MCO_WORDS="${(pj:\x1f:)before}"$'\x1f'"${(Q)PREFIX}" \
        command "$program" </dev/null 2>/dev/null)
    (( $#whole )) && compadd -l -d whole_shown -a -- whole
    (( $#open )) && compadd -S '' -l -d open_shown -a -- open
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _mco "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
    compdef _mco mco
fi
"""
FISH = r"""function __mco_complete
    set -l before (commandline -opc)
    set -l begun (commandline -ct)
    set -l program $before[1]
    command -q -- $program; or set program mco
    set -l joined (string join \x1f -- $before "$begun")
    for line in (env _MCO_COMPLETE=fish _MCO_WORDS="$joined" $program </dev/null 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path "$begun"
            case :folders
                __fish_complete_directories "$begun"
            case :open
            case '*'
                printf '%s\n' $line
        end
    end
end
complete -c mco -e
complete -c mco -f -a '(__mco_complete)'
"""
SCRIPTS = {"bash": BASH, "fish": FISH, "zsh": ZSH}


class Line(NamedTuple):
    """A line that is being typed.

    Attributes:
        words: those that are complete, after the program's name.
        begun: the word at the cursor, so far.
        kept: what stands before it, or at its beginning, and the shell does not want to hear again.
    """

    words: list[str]
    begun: str
    kept: str = ""


def asked(shell: str) -> Line:
    """Return the line that a shell wants to complete."""
    if shell == "bash":
        return of_bash(os.environ.get("_MCO_LINE", ""), os.environ.get("_MCO_BREAKS", ""))
    words = os.environ.get("_MCO_WORDS", "").split(SEPARATOR)
    return Line(words[1:-1], _unquoted(words[-1]) if len(words) > 1 else "")


def of_bash(line: str, breaks: str) -> Line:
    """Split a line as bash does, which replaces only what stands behind the last of its breaking characters."""
    words: list[str] = []
    word: str | None = None
    quote = ""
    kept = ""  # of the word, unquoted
    characters = iter(line)
    for c in characters:
        if quote:
            if c == quote:
                quote = ""
            elif c == "\\" and quote == '"':
                word = (word or "") + next(characters, "")
            else:
                word = (word or "") + c
        elif c in " \t\n":
            if word is not None:
                words.append(word)
            word, kept = None, ""
        elif c in "'\"":
            quote, word = c, word or ""
            kept = word
        elif c == "\\":
            word = (word or "") + next(characters, "")
        else:
            word = (word or "") + c
            if c in breaks:
                kept = word
    return Line(words[1:], word or "", kept)


def answered(shell: str, found: Sequence[CompletionItem], line: Line) -> str:
    """Return the words in the form that a shell reads."""
    kinds = {item.type for item in found}
    lines = [":files"] if "file" in kinds else [":folders"] if "dir" in kinds else []
    plain = [item for item in found if item.type == "plain"]
    if plain and all(item.value.endswith(("=", "/")) for item in plain):
        lines.append(":open")
    return "\n".join([*lines, *_lines(shell, plain, line)])


def _lines(shell: str, found: Iterable[CompletionItem], line: Line) -> Iterable[str]:
    # A value that is completed behind `--option=` comes without that.
    option, mark, _ = line.begun.partition("=")
    before = f"{option}=" if mark and option.startswith("-") else ""
    for item in found:
        word = f"{before}{item.value}"
        if shell == "bash":
            if word.startswith(line.kept):
                yield word.removeprefix(line.kept)
        else:
            yield f"{word}\t{item.help}" if item.help else word


def _unquoted(word: str) -> str:
    """Return a word without a quotation mark that is still open."""
    return word[1:] if word[:1] in ("'", '"') else word
