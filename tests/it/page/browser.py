"""Looks at pages in a real browser, by chromedriver and plain HTTP, and tells what it saw as JSON.

argv[1]: {"profile": directory, "driver": program, "browser": program, "shots": directory or null,
          "visits": [{"name", "url", "width", "dark", "script": bool, "probe": JavaScript or null, "until": JavaScript or null}]}
"""
import base64, json, os, re, signal, subprocess, sys, time, urllib.request

told = json.loads(sys.argv[1])
driver = subprocess.Popen([told["driver"], "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, start_new_session=True)
port = None
for line in driver.stdout:
    found = re.search(r"successfully on port (\d+)", line)
    if found:
        port = int(found[1])
        break
if port is None:
    sys.exit("chromedriver says no port")


def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, method=method)
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        sys.exit(f"{method} {path}: {error.read().decode()[:2000]}")


# Text that is too faint for its ground: what WCAG calls AA. Of all the text that is seen.
CONTRAST = r"""
const parse = (c) => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
const light = ([r, g, b]) => { const f = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
  if (c[3] > 0.99) return c; } return [255, 255, 255, 1]; };
const faint = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node; (node = walk.nextNode());) {
  const e = node.parentElement;
  if (!node.data.trim() || !e.checkVisibility() || e.closest("script,style,.vh,.defs,.skip,title")) continue;
  const style = getComputedStyle(e);
  const ink = parse(e.closest("svg text") ? style.fill : style.color);
  const [a, b] = [light(ink), light(ground(e))].sort((x, y) => y - x);
  const size = parseFloat(style.fontSize);
  const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < least) faint.push(`${ratio.toFixed(2)} ${e.tagName}.${e.className.baseVal ?? e.className}: ${node.data.trim().slice(0, 40)}`);
}
return [...new Set(faint)].slice(0, 20);
"""
# What sticks out at the right, but for what scrolls by itself.
WIDE = r"""
const out = [];
for (const e of document.querySelectorAll("body *")) {
  if (e.closest(".scroll > *, .defs, .skip, .vh") || e.ownerSVGElement) continue;
  if (e.getBoundingClientRect().right > document.documentElement.clientWidth + 1 && e.checkVisibility())
    out.push(`${e.tagName}.${e.className.baseVal ?? e.className} ${Math.round(e.getBoundingClientRect().right)}`);
}
return out.slice(0, 10);
"""
# Tables without headings of columns, pictures and fields without names, links that lead nowhere.
NAMELESS = r"""
const bad = [];
for (const t of document.querySelectorAll("table")) if (!t.querySelector("thead th[scope=col]")) bad.push("table");
for (const s of document.querySelectorAll("svg")) if (!s.closest("[aria-hidden]") && !s.getAttribute("aria-label")) bad.push("svg");
for (const i of document.querySelectorAll("input")) if (!i.labels.length) bad.push(`input ${i.id}`);
for (const a of document.querySelectorAll("a[href^='#']")) if (!document.getElementById(a.hash.slice(1))) bad.push(a.hash);
const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) bad.push(`twice: ${id}`);
if (document.querySelectorAll("h1").length !== 1 || !document.documentElement.lang) bad.push("h1, lang");
return bad;
"""

saw = []
try:
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--hide-scrollbars", f"--user-data-dir={told['profile']}"]
    capabilities = {"goog:chromeOptions": {"binary": told["browser"], "args": arguments},
                    "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
    session = call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
    at = f"/session/{session['sessionId']}"
    cdp = lambda name, values: call("POST", f"{at}/goog/cdp/execute", {"cmd": name, "params": values})
    run = lambda script: call("POST", f"{at}/execute/sync", {"script": script, "args": []})
    logs = lambda kind: call("POST", f"{at}/se/log", {"type": kind})
    for visit in told["visits"]:
        width, phone = visit["width"], visit["width"] < 500
        cdp("Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 2 if phone else 1, "mobile": phone})
        scheme = "dark" if visit["dark"] else "light"
        cdp("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        cdp("Emulation.setScriptExecutionDisabled", {"value": not visit["script"]})
        logs("browser"), logs("performance")
        call("POST", f"{at}/url", {"url": visit["url"]})
        end = time.time() + 120
        while visit.get("until") and not run(visit["until"]):
            if time.time() > end:
                sys.exit(f"waited in vain: {visit['until']}")
            time.sleep(0.2)
        events = [json.loads(entry["message"])["message"] for entry in logs("performance")]
        asked = [event["params"]["request"]["url"] for event in events
                 if event["method"] == "Network.requestWillBeSent"]
        cdp("Emulation.setScriptExecutionDisabled", {"value": False})
        saw.append({
            "name": visit["name"],
            "title": run("return document.title"),
            "text": run("return document.body.innerText"),
            "console": [f"{entry['level']} {entry['message']}" for entry in logs("browser")],
            "asked": asked,
            "overflow": run("return document.documentElement.scrollWidth - document.documentElement.clientWidth"),
            "wide": run(WIDE), "faint": run(CONTRAST), "nameless": run(NAMELESS),
            "probe": run(visit["probe"]) if visit.get("probe") else None,
        })
        if told["shots"]:
            size = cdp("Page.getLayoutMetrics", {})["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": width, "height": min(size["height"], 6000), "scale": 1}
            shot = cdp("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
            name = os.path.join(told["shots"], f"{visit['name']}.png")
            with open(name, "wb") as file:
                file.write(base64.b64decode(shot["data"]))
    call("DELETE", at)
finally:
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
print(json.dumps(saw))
