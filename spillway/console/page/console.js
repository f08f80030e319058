// The console: asks for one document again and again, and shows what changed in it.
// Whatever comes from the service becomes text, never markup.

const LOOK_MS = 1500, HIDDEN_MS = 6000, ANSWER_MS_MAX = 20000, NOTICE_MS = 20000;
const proof = document.querySelector("meta[name=console-proof]").content;
const $ = (id) => document.getElementById(id);
const work = $("work");
let start = null, shownMs = 0, goneSince = null, timer = null, noticeTimer = null;

// -- the page's parts ---------------------------------------------------------------------

/** An element of a kind with classes, holding texts and other elements. */
function make(kind, classes, ...inside) {
  const element = document.createElement(kind);
  if (classes) element.className = classes;
  element.append(...inside);
  return element;
}

/** Say something in an element; untouched if it says so already, for selections and readers. */
function say(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

/** Set an attribute, if that changes it. */
function put(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

function flag(element, name, value) {
  if (element[name] !== Boolean(value)) element[name] = Boolean(value);
}

function dress(element, classes) {
  if (element.className !== classes) element.className = classes;
}

function badge(element, text, mood) {
  say(element, text);
  dress(element, `badge ${mood}`);
}

/** Let a parent hold one element for each item, in order, keeping those that are there. */
function list(parent, items, key, create, fill) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = known.get(name);
    known.delete(name);
    if (!child) {
      child = create(item);
      child.dataset.key = name;
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    fill(child, item);
  }
  for (const child of known.values()) child.remove();
}

/** The part of an element that was given a name when it was made. */
const part = (element, name) => element.querySelector(`[data-part="${name}"]`);

function named(name, element) {
  element.dataset.part = name;
  return element;
}

const percent = (share) => `${Math.round(100 * share)} %`;
const seconds = (value) => (value === null || value === undefined ? "" : `${value.toFixed(1)} s`);
const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });

function ago(ms, now) {
  const s = Math.max(0, Math.round((now - ms) / 1000));
  if (s < 100) return `${s} s`;
  return s < 6000 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
}

// -- regions ------------------------------------------------------------------------------

function condition(region) {
  const faults = region.faults || {};
  if (faults.killed) return ["killed", "bad"];
  if (region.state === "lost") return ["lost", "bad"];
  if (region.state === "drained") return ["drained", "warn"];
  if (region.ready === false) return ["not ready", "bad"];
  if ((faults.isolated_from || []).length) return [`cut off from ${faults.isolated_from}`, "bad"];
  if (faults.slow_factor > 1) return [`${faults.slow_factor} times slower`, "warn"];
  return region.state === "serving" ? ["serving", "good"] : ["no lease yet", "idle"];
}

function makeRegion(region) {
  const button = named("button", make("button", "danger"));
  button.type = "button";
  button.addEventListener("click", () => act(button.dataset.action, { region: region.region }, button));
  return make(
    "article", "card",
    make("div", "row", make("h3", "", region.region), named("state", make("span", "badge"))),
    named("reason", make("p", "quiet")),
    named("models", make("div", "cards")),
    make("footer", "row", named("seen", make("span", "quiet")), button),
  );
}

function fillRegion(card, region, state) {
  const killed = Boolean((region.faults || {}).killed);
  const [word, mood] = condition(region);
  dress(card, killed ? "card away" : "card");
  badge(part(card, "state"), word, mood);
  const lost = killed && region.state === "lost" ? "its peers have taken its jobs over" : "";
  const reason = lost || region.reason || "";
  say(part(card, "reason"), reason);
  flag(part(card, "reason"), "hidden", !reason);
  const button = part(card, "button");
  put(button, "data-action", ["serving", "not ready", "no lease yet"].includes(word) ? "kill" : "restore");
  say(button, button.dataset.action === "kill" ? "Kill" : "Restore");
  put(button, "aria-label", `${button.textContent} ${region.region}`);
  dress(button, button.dataset.action === "kill" ? "danger" : "");
  const unfinished = region.models.reduce((sum, model) => sum + (model.unfinished || 0), 0);
  const seen = region.seen_ms ? `, last beat ${ago(region.seen_ms, state.at_ms)} ago` : "";
  say(part(card, "seen"), `${unfinished} unfinished${seen}`);
  const most = Math.max(20, ...state.regions.flatMap((r) => r.models.flatMap((m) => Object.values(m.waiting))));
  list(part(card, "models"), region.models, (m) => m.model, makeModel(state.tiers), (element, model) =>
    fillModel(element, model, state.tiers, most));
}

const makeModel = (tiers) => (model) => {
  const lines = make("div", "lines");
  for (const name of ["slots", ...tiers]) {
    lines.append(
      make("span", "label", name),
      make("div", "bar", named(`${name}-bar`, make("i", name))),
      named(`${name}-value`, make("span", "value")),
    );
  }
  return make(
    "div", "model",
    make("div", "row", make("h4", "", model.model), named("instances", make("span", "quiet"))),
    lines,
  );
};

function fillModel(element, model, tiers, most) {
  const line = (name, value, share) => {
    say(part(element, `${name}-value`), value);
    const { style } = part(element, `${name}-bar`), width = `${Math.round(Math.min(100, 100 * share))}%`;
    if (style.width !== width) style.width = width;
  };
  const { in_use: used, capacity } = model.slots;
  line("slots", `${used} / ${capacity}`, capacity ? used / capacity : 0);
  for (const tier of tiers) line(tier, model.waiting[tier], model.waiting[tier] / most);
  const instances = model.instances.map(({ version, serving, ordered }) =>
    `${version}: ${serving}${ordered === serving ? "" : ` → ${ordered}`}`);
  say(part(element, "instances"), instances.length ? `instances ${instances.join(", ")}` : "no instance seen yet");
}

// -- releases and alarms ------------------------------------------------------------------

function makeRelease(release) {
  const button = named("button", make("button", "danger"));
  button.type = "button";
  button.addEventListener("click", () => act("release", { model: release.model }, button));
  return make(
    "article", "",
    make("div", "row", make("h3", "", release.model), named("state", make("span", "badge")), button),
    named("why-not", make("p", "quiet")),
    named("progress", make("p", "")),
    named("shares", make("ul", "list quiet")),
    named("events", make("ol", "")),
  );
}

function releaseState(release) {
  if (release.live === null) return ["no record yet", "idle"];
  if (release.candidate) return [`${release.candidate} on trial`, "warn"];
  const bad = Object.keys(release.quarantined);
  return bad.length ? [`${release.live} live, ${bad.join(", ")} taken back`, "bad"] : [`${release.live} live`, "good"];
}

/** Who answers, in as few lines as say it: regions and tiers of the same shares are one. */
function shares(release) {
  const lines = new Map();
  for (const [region, tiers] of Object.entries(release.shares || {})) {
    const told = new Map();
    for (const [tier, versions] of Object.entries(tiers)) {
      const parts = Object.entries(versions).filter(([, share]) => share > 0);
      const text = parts.map(([version, share]) => `${version} ${percent(share)}`).join(", ") || "nobody";
      told.set(text, [...(told.get(text) || []), tier]);
    }
    const text = told.size === 1
      ? [...told.keys()][0]
      : [...told].map(([which, names]) => `${names.join(", ")}: ${which}`).join("; ");
    lines.set(text, [...(lines.get(text) || []), region]);
  }
  return [...lines].map(([text, regions]) => (lines.size === 1 ? `everywhere: ${text}` : `${regions.join(", ")}: ${text}`));
}

function fillRelease(element, release, offer, task) {
  badge(part(element, "state"), ...releaseState(release));
  const button = part(element, "button");
  flag(button, "hidden", !offer.version);
  flag(button, "disabled", Boolean(offer.why_not));
  say(button, `Release a bad version (${offer.version})`);
  say(part(element, "why-not"), offer.why_not);
  flag(part(element, "why-not"), "hidden", !offer.why_not);
  const steps = release.candidate
    ? `${release.candidate}: step ${release.step} in ${release.region} (${release.step_number} of ${release.steps})`
    : "";
  const told = task.told.startsWith(`${release.model} `) ? `${task.told}${task.done ? `; ${task.done} jobs sent to try it` : ""}` : "";
  const progress = [steps, release.waits, told].filter(Boolean).join(". ");
  say(part(element, "progress"), progress);
  flag(part(element, "progress"), "hidden", !progress);
  list(part(element, "shares"), shares(release), (text) => text, () => make("li"), say);
  list(part(element, "events"), [...(release.events || [])].reverse(),
    (event) => `${event.at_ms} ${event.what} ${event.region}`,
    (event) => make("li", "", make("time", "", clock(event.at_ms)), ` ${[event.what, event.version, event.region && `in ${event.region}`].filter(Boolean).join(" ")}${event.why ? `: ${event.why}` : ""}`),
    () => {});
}

const KINDS = { alarm: ["for people", "bad"], guard: ["guard", "bad"], scaling: ["scales", "warn"] };

function makeAlarm(alarm) {
  const [word, mood] = KINDS[alarm.kind] || [alarm.kind, "idle"];
  return make(
    "li", "",
    make("div", "row", make("span", `badge ${mood}`, word), make("strong", "", alarm.name),
      make("span", "quiet", alarm.region), make("time", "", clock(alarm.since_ms))),
    make("p", "quiet", alarm.description.split(". ")[0]),
  );
}

function fillAlarms(state) {
  const counts = { ALARM: 0, OK: 0, INSUFFICIENT_DATA: 0 };
  for (const region of state.regions)
    for (const [name, number] of Object.entries((region.alarms || {}).states || {})) counts[name] += number;
  say($("alarms-count"), `${counts.ALARM} ring, ${counts.OK} are quiet, ${counts.INSUFFICIENT_DATA} have seen nothing yet`);
  flag($("alarms-none"), "hidden", state.ringing.length > 0);
  list($("alarms"), state.ringing, (a) => `${a.region} ${a.kind} ${a.name} ${a.since_ms}`, makeAlarm, () => {});
}

// -- jobs ---------------------------------------------------------------------------------

const MOODS = { completed: "good", failed: "bad", refused: "bad", expired: "bad", cancelled: "idle", in_progress: "warn", queued: "idle" };

function makeJob(job) {
  const id = make("code", "", job.id.length > 16 ? `${job.id.slice(0, 15)}…` : job.id);
  id.title = job.id;
  const cells = ["model", "tier", "region", "attempt", "waited", "worked", "age"].map((name, index) =>
    named(name, make("td", index > 2 ? "number" : "")));
  return make("tr", "", make("td", "", id), make("td", "", named("status", make("span", "badge"))), ...cells);
}

function fillJob(row, job, now) {
  const timings = job.timings || {};
  badge(part(row, "status"), job.status.replace("_", " "), MOODS[job.status] || "idle");
  say(part(row, "model"), job.version ? `${job.model} ${job.version}` : job.model);
  say(part(row, "tier"), job.tier);
  say(part(row, "region"), job.region);
  say(part(row, "attempt"), job.attempt);
  say(part(row, "waited"), seconds(timings.queue_s));
  say(part(row, "worked"), seconds(timings.model_s));
  say(part(row, "age"), ago(Date.parse(job.created_at), now));
}

// -- all of it ----------------------------------------------------------------------------

function choices(select, values, chosen) {
  list(select, values, (value) => value, (value) => new Option(value, value), () => {});
  if (!select.dataset.set && values.length) {
    select.value = chosen || values[0];
    select.dataset.set = "yes";
  }
}

function show(state) {
  say($("deployment"), state.deployment);
  choices(work.elements.model, state.models.map((model) => model.model));
  choices(work.elements.tier, state.tiers, "interactive");
  choices(work.elements.region, state.regions.map((region) => region.region));
  list($("regions"), state.regions, (r) => r.region, makeRegion, (card, region) => fillRegion(card, region, state));
  const offers = new Map(state.offers.map((offer) => [offer.model, offer]));
  list($("releases"), state.releases, (r) => r.model, makeRelease, (element, release) =>
    fillRelease(element, release, offers.get(release.model), state.tasks.release));
  fillAlarms(state);
  list($("jobs"), state.jobs, (job) => job.id, makeJob, (row, job) => fillJob(row, job, state.at_ms));
  flag($("jobs-none"), "hidden", state.jobs.length > 0);
  list($("problems"), state.problems, (text) => text, () => make("li", "notice bad"), say);
  const { burst } = state.tasks;
  const failed = burst.failed ? `, ${burst.failed} refused` : "";
  say($("burst"), burst.of ? `${burst.done} of ${burst.of} accepted${failed}, ${burst.told}` : "");
  flag(work.elements.burst, "disabled", burst.running);
}

/** Ask for the document, show it, and ask again after a while. */
async function look() {
  clearTimeout(timer);
  try {
    const answer = await fetch("/state", { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS_MAX) });
    if (!answer.ok) throw new Error(`the service answers ${answer.status}`);
    const state = await answer.json();
    if (start !== null && start !== state.start) return location.reload();
    start = state.start;
    // An answer that was overtaken would show the past.
    if (state.at_ms >= shownMs) show(state);
    shownMs = Math.max(shownMs, state.at_ms);
    goneSince = null;
    document.body.classList.remove("gone");
    badge($("connection"), `live, ${clock(state.at_ms)}`, "good");
  } catch (error) {
    goneSince ??= Date.now();
    document.body.classList.add("gone");
    badge($("connection"), `the service is gone since ${clock(goneSince)}`, "bad");
    console.warn("no state", error);
  }
  clearTimeout(timer);
  timer = setTimeout(look, document.hidden ? HIDDEN_MS : LOOK_MS);
}

function notice(text, mood) {
  say($("notice"), text);
  dress($("notice"), `notice ${mood}`);
  $("notice").hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { $("notice").hidden = true; }, NOTICE_MS);
}

/** Press a button: send an action, tell what came of it, and look. */
async function act(action, wanted, button) {
  button.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(`/actions/${action}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Console-Token": proof },
      body: JSON.stringify(wanted),
    });
    const document = await answer.json();
    notice(answer.ok ? document.told : document.error.message, answer.ok ? "good" : "bad");
  } catch {
    notice("The service did not answer.", "bad");
  } finally {
    button.removeAttribute("aria-busy");
  }
  look();
}

work.addEventListener("submit", (event) => {
  event.preventDefault();
  const { model, tier, region, submit } = work.elements;
  act("submit", { model: model.value, tier: tier.value, region: region.value }, submit);
});
work.elements.burst.addEventListener("click", (event) => {
  const { model, region, jobs } = work.elements;
  if (!jobs.reportValidity()) return;
  act("burst", { model: model.value, region: region.value, jobs: Number(jobs.value) }, event.currentTarget);
});
document.addEventListener("visibilitychange", () => document.hidden || look());
look();
