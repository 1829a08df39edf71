"""What of a profile was not applied, in the report's words."""

from dataclasses import replace
from pathlib import Path

from result_samples import seed_result

from vpnprobe.probes.existing_server import about_profile
from vpnprobe.profiles.ovpn import parse_profile
from vpnprobe.report.html import render
from vpnprobe.report.profile import not_applied
from vpnprobe.report.text import render_text

PROFILE = {
    "file": "client.ovpn",
    "export": "Pritunl",
    "not_applied": [
        {"line": 3, "option": "verb", "meaning": "concerns the log"},
        {"line": 4, "option": "mute", "meaning": "concerns the log"},
        {"line": 7, "option": "mssfix", "meaning": "is about sizes"},
    ],
    "notes": [{"line": 9, "text": "capath a folder is not read"}],
}


def test_one_sentence_for_each_meaning() -> None:
    result = seed_result()
    assert not_applied(result) == ()
    told = replace(result, run=replace(result.run, client={**(result.run.client or {}), "profile": PROFILE}))
    assert not_applied(told) == (
        "An export of Pritunl, by its marks.",
        "verb (line 3) and mute (line 4): concerns the log",
        "mssfix (line 7): is about sizes",
        "line 9: capath a folder is not read",
    )
    assert "In the profile, and not applied" in render_text(told, colour=False, width=100)
    assert "mssfix (line 7)" in render(told).decode()


def test_no_line_of_a_key_and_no_password_is_in_the_report() -> None:
    secrets = ("6acef03f62675b4b1bbd03e53b187727", "MySecretPassw0rd", "q8Zr2Kx1A==")
    text = f"client\nremote vpn.example.net\nauth-user-pass\npeer-fingerprint {':'.join(['ab'] * 32)}\n" + "\n".join(secrets) + "\n"
    profile = parse_profile(text, folder=Path("/nonexistent"), file="client.ovpn")
    about = about_profile(profile.file, profile.told, profile.notes, refused=[note.text for note in profile.refused])
    result = seed_result()
    told = replace(result, run=replace(result.run, client={**(result.run.client or {}), "profile": about}))
    page, lines = render(told).decode(), render_text(told, colour=False, width=100)
    assert "a word of 32 characters" in page
    assert "a word of 32 characters" in lines
    assert not [secret for secret in secrets if secret in page or secret in lines]
