"""The report in headless Chromium: nothing overflows at phone and desktop width, all text can be read in light and dark, no errors.

The page itself runs no scripts. It is measured from outside: a page of ours holds it in a frame of the wanted size and writes down what
it measures, which `--dump-dom` prints.
"""

import json
import os
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest
from result_samples import SAMPLES

from vpnprobe.report.html import render

pytestmark = pytest.mark.browser

MEASURE = """
<!doctype html><html><head><meta name="color-scheme" content="light dark"></head><body style="margin:0">
<iframe id="frame" style="border:0;width:%WIDTH%px;height:1200px" srcdoc="%PAGE%"></iframe><pre id="found"></pre>
<script>
const frame = document.getElementById("frame");
function channels(colour) { return colour.match(/[\\d.]+/g).map(Number); }
function luminance(colour) {
  const [r, g, b] = channels(colour).slice(0, 3).map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function behind(element) {
  for (let one = element; one; one = one.parentElement) {
    const colour = frame.contentWindow.getComputedStyle(one).backgroundColor;
    if (channels(colour)[3] !== 0) return colour;
  }
  return "rgb(255, 255, 255)";
}
frame.addEventListener("load", () => {
  const page = frame.contentDocument, view = frame.contentWindow;
  const shown = [...page.body.querySelectorAll("*")].filter(one => one.getClientRects().length);
  const sticksOut = one => {
    const box = one.getBoundingClientRect();
    return box.width > 1 && (box.right > view.innerWidth + 0.5 || box.left < -0.5);
  };
  const hasText = one => [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  const contrast = one => {
    const style = view.getComputedStyle(one), ink = one.namespaceURI.endsWith("svg") ? style.fill : style.color;
    const [light, dark] = [luminance(ink), luminance(behind(one))].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const outside = shown.filter(sticksOut);
  const faint = shown.filter(hasText).filter(one => contrast(one) < 4.5).map(one => [one.outerHTML.slice(0, 80), contrast(one)]);
  document.getElementById("found").textContent = JSON.stringify({
    width: view.innerWidth, scroll: page.documentElement.scrollWidth, outside: outside.map(one => one.outerHTML.slice(0, 120)), faint,
    headings: [...page.querySelectorAll("h1, h2")].map(one => one.textContent.trim()),
    smallest: Math.min(...shown.filter(one => !one.closest("svg")).map(one => parseFloat(view.getComputedStyle(one).fontSize))),
    paper: view.getComputedStyle(page.body).backgroundColor,
  });
});
</script></body></html>
"""


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("needs chromium: apt-get install chromium")
    return str(found)


def measured(chromium: str, folder: Path, page: bytes, *, width: int, dark: bool) -> tuple[dict[str, Any], list[str]]:
    """What the page measures at a width, and the console's lines."""
    outer = MEASURE.replace("%WIDTH%", str(width)).replace("%PAGE%", escape(page.decode("utf-8")))
    (folder / "measure.html").write_text(outer, encoding="utf-8")
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr", "--window-size=1400,1300",
        f"--user-data-dir={folder / 'profile'}", f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        "--virtual-time-budget=5000", "--dump-dom", (folder / "measure.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="found">(\{.*?\})</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr[-2000:]
    return json.loads(unescape(found[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("name", ["seed", "blocked", "offline", "hostile"])
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True), (360, False)])
def test_the_page_fits_and_can_be_read(chromium: str, tmp_path: Path, name: str, width: int, dark: bool) -> None:
    found, console = measured(chromium, tmp_path, render(SAMPLES[name]()), width=width, dark=dark)
    assert found["width"] == width
    assert found["scroll"] == width
    assert found["outside"] == []
    assert found["faint"] == []
    assert found["smallest"] >= 12
    assert {"Protocols", "The path", "Evidence", "How it was measured"} <= set(found["headings"])
    assert console == []
    red, green, blue = (int(part) for part in re.findall(r"\d+", found["paper"])[:3])
    assert (red + green + blue < 200) is dark


def test_the_measure_notices_a_page_that_overflows(chromium: str, tmp_path: Path) -> None:
    page = b'<!doctype html><body style="margin:0;background:#fff"><p style="width:900px;color:#ccc">wide and faint</p>'
    found, _ = measured(chromium, tmp_path, page, width=390, dark=False)
    assert found["scroll"] > 390
    assert found["outside"]
    assert found["faint"]
