"""What a run's document says of the profile that was tried: whose export it is, and what of it was not applied."""

from collections.abc import Mapping

from vpnprobe.observations.schema import Result
from vpnprobe.report.words import visible
from vpnprobe.rules.sentences import listed


def not_applied(result: Result) -> tuple[str, ...]:
    """What the profile has that was not applied, a sentence for each meaning, and what its own program makes of the profile."""
    profile = (result.run.client or {}).get("profile")
    if not isinstance(profile, Mapping):
        return ()
    by_meaning: dict[str, list[str]] = {}
    for one in profile.get("not_applied", ()):
        by_meaning.setdefault(str(one["meaning"]), []).append(f"{one['option']} (line {one['line']})")
    told = [f"{listed(options)}: {meaning}" for meaning, options in by_meaning.items()]
    notes = [f"line {note['line']}: {note['text']}" for note in profile.get("notes", ())]
    export = [f"An export of {profile['export']}, by its marks."] if profile.get("export") else []
    return tuple(visible(text) for text in (*export, *told, *notes))
