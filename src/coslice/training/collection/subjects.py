"""Whose scans they are: one person's must not be on both sides of the split into training and validation.

Scans are joined that share what tells a person: DICOM's PatientID; `sub-XX` of BIDS in a name or a folder; a folder
per patient; or a name that differs from another's only in what tells scans of one person apart: nnU-Net's channel
(_0000), a session, a date, a time point, a weighting (T1, FLAIR), a part of the body, a trailing number or letter
(_1, _b). A number at the end is the patient's own where nothing before it could be (case_1, case_2). Names do not
always tell; what was found is said, and a rule can be given: a table of scans and subjects, or a pattern.

Subjects leave here as numbers in the order of their scans ("subject-1"), which say no more than that order does.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coslice.errors import CosliceError
from coslice.io.plain_files import check_plain

__all__ = ["LABEL", "ScanClue", "check_subject_rule", "is_table", "subject_labels", "subjects_of"]

LABEL = re.compile(r"subject-\d+")
"""How a subject is called in what is written."""

_LONGEST = 300
_MOST = 20
"""Scans of one person, where names and folders tell; more of one name are a collection's."""
_LARGEST = 16 << 20
_TABLES = (".csv", ".tsv", ".txt")
_SEPARATOR = r"[_\-. ]+"
_WORDS = (
    r"t1(?:w|c|ce|gd|n|post|map)?|t2(?:w|f|star)?|flair|pdw?|dwi|adc|swi|bold|mra?|mri|ct|cbct|pet|spect|ncct|cect|"
    r"ax|axial|cor|coronal|sag|sagittal|head|brain|neck|chest|lung|thorax|abd|abdomen|pelvis|spine|whole|body|"
    r"baseline|followup|pre|post|preop|postop|before|after|prone|supine|left|right|copy"
)
_NUMBERED = (
    r"ses-?[a-z0-9]+|(?:run|rep|echo|acq|visit|tp|time|timepoint|scan|session|series|img|image|fu|followup|month|week|"
    r"year|day|mr|ct|pet|[tvmwyd])-?\d{1,3}"
)
_DATE = r"(?:19|20)\d\d[_\-.]?(?:0[1-9]|1[0-2])[_\-.]?(?:0[1-9]|[12]\d|3[01])"
_WORD = re.compile(rf"{_SEPARATOR}(?:{_WORDS})$", re.IGNORECASE)
_TIME = re.compile(rf"{_SEPARATOR}(?:{_NUMBERED}|{_DATE})$", re.IGNORECASE)
_COPY = re.compile(r"[_\-. ]*\(\d+\)$")
_INDEX = re.compile(rf"(?:{_SEPARATOR}(0\d{{3}}|\d{{1,2}}|[a-h])|(?<=\d)([a-h]))$", re.IGNORECASE)
_GENERIC = re.compile(
    rf"(?:{_WORDS}|{_NUMBERED}|{_DATE}|\d|[a-h]|anat|func|perf|dicom|dcm|nifti|nii|images?|imagest[rs]|scans?|series|"
    r"study|raw|rawdata|sourcedata|derivatives|data|train|training|test|testing|val|validation)",
    re.IGNORECASE,
)
_BIDS = re.compile(r"^sub-([A-Za-z0-9]+)(?=_|$)")


@dataclass(frozen=True)
class ScanClue:
    """What may tell whose a scan is.

    Attributes:
        parts: names of folders below the places that were searched, then of the file without suffix, or of the series.
        patient: DICOM's PatientID, or "".
        file: the file's whole name, or "".
    """

    parts: tuple[str, ...]
    patient: str = ""
    file: str = ""


def subjects_of(clues: Sequence[ScanClue], rule: str | None = None) -> tuple[list[str], str]:
    """For every scan the label of its subject, empty if that has no other scan; and a sentence that says how.

    Args:
        clues: of the scans.
        rule: a table (CSV or TSV file, a line "scan,subject" each, scans by name, file name or path), or a regular
            expression that is searched in the path and has one group, which is the subject; None: found out.

    Raises:
        CosliceError: a rule that is neither, or that tells of no scan.
    """
    if rule:
        check_subject_rule(rule)
        found = _tabled(clues, Path(rule)) if is_table(rule) else _matched(clues, re.compile(rule))
        unknown = found.count(None)
        if unknown == len(found):
            raise CosliceError(
                f"subjects: {rule} was given, but it tells of none of the {len(clues)} scans, the first of which is "
                f"{'/'.join(clues[0].parts) if clues else 'missing'}; correct it."
            )
        keys = [f"scan {number}" if key is None else f"given {key}" for number, key in enumerate(found)]
        how = f"as {Path(rule).name if is_table(rule) else rule} says"
        how += f", which does not tell of {unknown} scans; each is taken for a subject of its own" if unknown else ""
    else:
        keys, how = _found(clues)
    count = len(set(keys))
    people = f"{count} subject{'s' * (count != 1)}"
    return subject_labels(keys), f"{len(clues)} scan{'s' * (len(clues) != 1)} of {people}: {how}."


def subject_labels(keys: Sequence[str]) -> list[str]:
    """Numbers in the order of the scans for whatever tells subjects apart; "" for a scan that is alone."""
    counts = Counter(keys)
    numbers: dict[str, int] = {}
    return [f"subject-{numbers.setdefault(key, len(numbers) + 1)}" if key and counts[key] > 1 else "" for key in keys]


def check_subject_rule(rule: str) -> None:
    """Refuse a rule that cannot be one, before there are scans.

    Raises:
        CosliceError: a table that is not there, no regular expression, one that is too long or has not one group.
    """
    if is_table(rule):
        if not Path(rule).is_file():
            raise CosliceError(f"subjects: {rule} was given, but there is no such file; give a CSV or TSV file.")
        return
    try:
        groups = re.compile(rule).groups if len(rule) <= _LONGEST else 0
    except re.error as error:
        raise CosliceError(f"subjects: {rule!r} was given, but it is no regular expression ({error}).") from error
    if groups != 1:
        raise CosliceError(
            f"subjects: {rule[:_LONGEST]!r} was given, but a CSV or TSV file is needed, or a regular expression of at "
            rf"most {_LONGEST} letters with one group, as in (P\d+)."
        )


def is_table(rule: str) -> bool:
    """Whether a rule is a table's file, and not a pattern."""
    return rule.lower().endswith(_TABLES) or ("(" not in rule and Path(rule).is_file())


def _tabled(clues: Sequence[ScanClue], path: Path) -> list[str | None]:
    check_plain(path, "give a table of scans as subjects")
    try:
        if path.stat().st_size > _LARGEST:
            raise CosliceError(f"subjects: {path} is larger than {_LARGEST >> 20} MB; give a table of scans only.")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CosliceError(f"subjects: {path} cannot be read as text; give a CSV or TSV file in UTF-8.") from error
    first = text.partition("\n")[0]
    separator = max("\t;,", key=first.count)
    try:
        rows = [row for row in csv.reader(text.splitlines(), delimiter=separator) if any(map(str.strip, row))]
    except csv.Error as error:
        raise CosliceError(f"subjects: {path} is no CSV or TSV table ({error}); correct it.") from error
    table: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        if len(row) < 2 or not row[1].strip():
            raise CosliceError(f'subjects: row {number} of {path} lacks a subject; write lines like "scan,subject".')
        scan, subject = row[0].strip().removeprefix("./"), row[1].strip()
        if table.setdefault(scan, subject) != subject:
            raise CosliceError(f'subjects: {path} gives "{scan}" to two subjects; correct it.')
    found: list[str | None] = []
    for clue in clues:
        path_of = "/".join(clue.parts)
        names = (path_of, "/".join((*clue.parts[:-1], clue.file)), clue.file, clue.parts[-1])
        found.append(next((table[name] for name in names if name in table), None))
    return found


def _matched(clues: Sequence[ScanClue], pattern: re.Pattern[str]) -> list[str | None]:
    found = (pattern.search("/".join(clue.parts)) for clue in clues)
    return [match.group(1) if match else None for match in found]


def _found(clues: Sequence[ScanClue]) -> tuple[list[str], str]:
    """For every scan what it shares with others of its subject, as one word; and how that was found."""
    told: list[set[str]] = [set() for _ in clues]
    ways: Counter[str] = Counter()

    def tell(number: int, key: str, way: str) -> None:
        told[number].add(f"{way} {key}")
        ways[way] += 1

    for number, clue in enumerate(clues):
        if clue.patient:
            tell(number, clue.patient, "PatientID")
        people = [match.group(1) for part in clue.parts if (match := _BIDS.match(part))]
        if people:
            tell(number, people[-1], "sub- in names")
    open_ = [number for number, keys in enumerate(told) if not keys]
    for number, key in _by_folders([clues[n].parts for n in open_]).items():
        tell(open_[number], key, "folders")
    open_ = [number for number in open_ if not told[number]]
    for number, key in _by_names([clues[n].parts[-1] for n in open_]).items():
        tell(open_[number], key, "names")
    alone = sum(not keys for keys in told)
    parts = [f"told apart by {', '.join(f'{way} ({count})' for way, count in ways.items())}"] if ways else []
    if alone:
        parts.append(f"nothing tells of {alone}, so each is taken for a subject of its own (--subjects can tell)")
    return _joined(told), "; ".join(parts)


def _joined(told: Sequence[set[str]]) -> list[str]:
    """One key for all scans that are linked by keys they share."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    nodes = [keys or {f"scan {number}"} for number, keys in enumerate(told)]
    for keys in nodes:
        first, *others = sorted(keys)
        for other in others:
            parent[root(other)] = root(first)
    return [root(min(keys)) for keys in nodes]


def _by_folders(paths: Sequence[tuple[str, ...]]) -> dict[int, str]:
    """By number, the folder of the patient, where there is one for each."""
    parents: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for path in paths:
        for depth, folder in enumerate(path[:-1]):
            parents[folder.lower()].add(path[:depth])
    home: dict[int, tuple[str, ...]] = {}
    for number, path in enumerate(paths):
        folders = path[:-1]
        while folders and (_GENERIC.fullmatch(folders[-1]) or _recurs(folders[-1], parents)):
            folders = folders[:-1]
        if folders:
            home[number] = folders
    inside: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for number, folders in home.items():
        inside["/".join(paths[number][len(folders) :]).lower()].add(folders)
    recurring = {below for below, folders in inside.items() if len(folders) > 1}
    named = [below for below in recurring if _has_number(below)]
    layout = bool(recurring) and (not named or len(set(home.values())) >= len(recurring))
    sizes = Counter(home.values())
    found = {}
    for number, folders in home.items():
        own = folders[-1].lower()
        if (layout and sizes[folders] <= _MOST) or (len(own) > 1 and paths[number][-1].lower().startswith(own)):
            found[number] = "/".join(folders)
    return found


def _recurs(folder: str, parents: dict[str, set[tuple[str, ...]]]) -> bool:
    """Whether a folder's name is that of a part of each patient's, as "before" below P1 and below P2."""
    return len(parents[folder.lower()]) > 1 and not re.search(r"\d", folder)


def _has_number(below: str) -> bool:
    """Whether a name may be a patient's: a number is in it that is not of a weighting, a time or a repetition."""
    name = _stripped(f"x_{below.rpartition('/')[2]}")[2:]
    return re.search(r"\d", _INDEX.sub("", f"x_{name}")) is not None


def _stripped(stem: str) -> str:
    """Without weightings, parts of the body, sessions, dates at its end, as long as something is left."""
    while True:
        shorter = _COPY.sub("", stem, count=1)
        shorter = _WORD.sub("", shorter) if shorter == stem else shorter
        if shorter == stem and re.search(r"\d", rest := _TIME.sub("", stem)):
            shorter = rest
        if shorter in (stem, ""):
            return stem
        stem = shorter


def _by_names(stems: Sequence[str]) -> dict[int, str]:
    """By number, what a name shares with others of the patient; only of those that share it."""
    whole = [stem.lower() for stem in stems]
    sure = [_stripped(stem) for stem in whole]
    groups: dict[str, list[int]] = defaultdict(list)
    for number, stem in enumerate(sure):
        groups[_stripped(_INDEX.sub("", stem))].append(number)
    found: dict[int, str] = {}
    for rest, numbers in groups.items():
        if len({sure[number] for number in numbers}) > 1 and _repeats(rest, [sure[n] for n in numbers], len(groups)):
            found |= dict.fromkeys(numbers, rest)
            continue
        for number in numbers:
            same = [other for other in numbers if sure[other] == sure[number]]
            # Names that are no patient's, as "ct", are shared by chance.
            told = _has_id(rest) or (len(groups) > 1 and len({whole[other] for other in same}) > 1)
            if 1 < len(same) <= _MOST and told:
                found[number] = sure[number]
    return found


def _has_id(rest: str) -> bool:
    return re.search(r"\d", rest) is not None and _GENERIC.fullmatch(rest) is None


def _repeats(rest: str, stems: Sequence[str], groups: int) -> bool:
    """Whether names that have `rest` and an index are of one patient's scans, and the index not the patient's own."""
    indices = [next(filter(None, match.groups())) for stem in stems if (match := _INDEX.search(stem))]
    channels = any(len(index) == 4 for index in indices)
    short = all(len(index) != 2 for index in indices)
    if not _has_id(rest):
        return bool(rest) and short and not channels and groups > 1 and len(stems) <= 5
    # Others have other rests; or what is left ends in a number too, as BRATS_001_0000 and CT004_b do.
    ends = re.search(rf"(^|{_SEPARATOR})\d+$" if channels else r"\d$", rest) is not None
    return (groups > 1 and len(stems) <= 10) or (short and ends and len(stems) <= 4)
