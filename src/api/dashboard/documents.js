// The document browser and the token. Goes on where figures.js ends.

// ---- Documents ------------------------------------------------------------------------------

// The document on the screen: its id, and its version unless it is new.
let open = { id: "", etag: null, ttl: null, readAt: 0 };

const pathOf = (id) => `/docs/${encodeURIComponent(id)}`;

function say(text, kind = "") {
  put("said", text);
  $("said").className = `said ${kind}`;
}

function conflict(text) {
  put("conflict-text", text);
  $("conflict").hidden = !text;
}

// White space for reading; every other byte stays, all digits of a number too.
function spaced(json) {
  let [out, depth, inText] = ["", 0, false];
  const line = () => `\n${"  ".repeat(depth)}`;
  for (let at = 0; at < json.length; at += 1) {
    const c = json[at];
    if (inText) {
      out += c;
      if (c === "\\") out += json[at += 1];
      else if (c === '"') inText = false;
    } else if (c === '"') {
      out += c;
      inText = true;
    } else if (c === "{" || c === "[") {
      const closes = json[at + 1] === "}" || json[at + 1] === "]";
      depth += closes ? 0 : 1;
      out += closes ? c + json[at += 1] : c + line();
    } else if (c === "}" || c === "]") {
      depth -= 1;
      out += line() + c;
    } else if (c === ",") out += c + line();
    else if (c === ":") out += ": ";
    else out += c;
  }
  return out;
}

// Runs what a button asks for, with the button off meanwhile, and says what was refused.
async function during(button, work) {
  button.disabled = true;
  say("");
  try {
    await work();
  } catch (refused) {
    if (!(refused instanceof Refused)) throw refused;
    say(help(refused), "bad");
  } finally {
    button.disabled = false;
    if (document.activeElement === document.body) button.focus();
  }
}

async function lookUp(id) {
  conflict("");
  open = { id, etag: null, ttl: null, readAt: performance.now() };
  try {
    const { response, text } = await ask("GET", pathOf(id));
    open.etag = response.headers.get("ETag");
    open.ttl = response.headers.get("Expires-In");
    $("text").value = spaced(text);
    put("version", `Version ${plain(open.etag)}` + (open.ttl ? `, expires in ${open.ttl} s` : ""));
  } catch (refused) {
    if (refused.status !== 404) throw refused;
    $("text").value = "";
    put("version", `There is no document ${id}. Write one and save it.`);
  }
  $("ttl").value = open.ttl ?? "";
}

const plain = (etag) => (etag ?? "").replace(/"|-gzip/g, "");

// What is left of the time to live if nobody changed it, else what was typed.
function ttlToSave() {
  const typed = $("ttl").value.trim();
  if (typed === "" || typed !== open.ttl) return typed;
  return Math.max(0.001, typed - (performance.now() - open.readAt) / 1000).toFixed(3);
}

async function save() {
  const id = $("id").value;
  if (!id) {
    $("id").focus();
    return say("Give an id first.", "bad");
  }
  if (id !== open.id) open = { id, etag: null, ttl: null, readAt: 0 };
  const ttl = ttlToSave();
  const path = pathOf(id) + (ttl ? `?ttl=${encodeURIComponent(ttl)}` : "");
  const headers = open.etag ? { "If-Match": open.etag } : { "If-None-Match": "*" };
  conflict("");
  try {
    const { response } = await ask("PUT", path, { headers, body: $("text").value });
    const created = response.status === 201;
    open = { id, etag: response.headers.get("ETag"), ttl: ttl || null, readAt: performance.now() };
    $("ttl").value = ttl;
    put("version", `Version ${plain(open.etag)}` + (ttl ? `, expires in ${ttl} s` : ""));
    say(created ? `Created ${id}.` : `Saved ${id}.`, "good");
  } catch (refused) {
    if (refused.status !== 412) throw refused;
    conflict(open.etag
      ? `Somebody else changed or deleted ${id} since it was looked up. Nothing was saved.`
      : `There is a document ${id} already. Nothing was saved.`);
  }
}

async function remove() {
  const id = $("id").value;
  if (!id || id !== open.id || !open.etag) return say("Look up a document first.", "bad");
  put("confirm-text", `Delete document ${id}, version ${plain(open.etag)}? That cannot be undone.`);
  const dialog = $("confirm");
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((closed) => dialog.addEventListener("close", closed, { once: true }));
  if (dialog.returnValue !== "yes") return say("Kept.");
  conflict("");
  try {
    await ask("DELETE", pathOf(id), { headers: { "If-Match": open.etag } });
    open = { id, etag: null, ttl: null, readAt: 0 };
    $("text").value = "";
    $("ttl").value = "";
    put("version", "Deleted.");
    say(`Deleted ${id}.`, "good");
  } catch (refused) {
    if (refused.status !== 412) throw refused;
    conflict(`Somebody else changed ${id} since it was looked up. Nothing was deleted.`);
  }
}

function on(form, work) {
  $(form).addEventListener("submit", (event) => {
    event.preventDefault();
    during(event.submitter ?? $(form).querySelector("button"), work);
  });
}

const press = (button, work) => $(button).addEventListener("click", (event) => during(event.currentTarget, work));

on("look-up", () => lookUp($("id").value));
press("save", save);
press("delete", remove);
press("take-theirs", () => lookUp($("id").value));
press("keep-mine", async () => {
  // The newest version becomes the one that is replaced, and a further change is a conflict again.
  try {
    open.etag = (await ask("HEAD", pathOf(open.id))).response.headers.get("ETag");
  } catch (refused) {
    if (refused.status !== 404) throw refused;
    open.etag = null;
  }
  await save();
});

async function run(pairs) {
  const result = $("result");
  result.className = "";
  if (!$("id").value) {
    $("id").focus();
    result.textContent = "Give an id first.";
    return;
  }
  try {
    const query = new URLSearchParams([["id", $("id").value], ...pairs]);
    result.textContent = spaced((await ask("GET", `/api/cmd?${query}`)).text);
  } catch (refused) {
    if (!(refused instanceof Refused)) throw refused;
    result.className = "bad";
    result.textContent = help(refused);
  }
}

on("only", () => {
  const keys = $("keys").value.split(",").map((key) => key.trim()).filter((key) => key);
  return run([["cmd[query]", "ONLY"], ...keys.map((key) => ["cmd[keys][]", key])]);
});
on("filter", () => run([
  ["cmd[query]", "FILTER_BOOL"], ["cmd[keys][key]", $("key").value], ["cmd[keys][by]", $("by").value],
]));

let after = null;

async function list(cursor) {
  const query = new URLSearchParams({ limit: 50 });
  if ($("prefix").value) query.set("prefix", $("prefix").value);
  // A cursor is sent as it came: it needs no encoding.
  const { text } = await ask("GET", `/docs?${query}${cursor === null ? "" : `&after=${cursor}`}`);
  // Integers become strings first: they have 64 bits, and numbers of JavaScript 53.
  const page = JSON.parse(text.replace(/"(?:[^"\\]|\\.)*"|-?\d+/g, (token) => (token[0] === '"' ? token : `"${token}"`)));
  if (cursor === null) $("ids").replaceChildren();
  for (const id of page.ids) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = id;
    button.addEventListener("click", () => {
      $("id").value = id;
      during(button, () => lookUp(id));
    });
    item.append(button);
    $("ids").append(item);
  }
  if (!$("ids").firstChild && page.after === null) $("ids").textContent = "None.";
  after = page.after;
  $("more").hidden = after === null;
}

on("list", () => list(null));
press("more", () => list(after));

// ---- The token ------------------------------------------------------------------------------

function noteToken() {
  put("token-note", sessionStorage.getItem(TOKEN)
    ? "A token is sent with every request of this tab."
    : "Only needed if the server was started with tokens. It is kept in this tab and sent to this server alone.");
}

on("token-form", () => {
  const token = $("token").value.trim();
  $("token").value = "";
  // A header field takes no other characters (RFC 6750, section 2.1).
  if (!/^[\x21-\x7e]+$/.test(token)) return put("token-note", "A token has no spaces, and letters, digits and signs of ASCII only.");
  sessionStorage.setItem(TOKEN, token);
  noteToken();
  return poll();
});
press("forget", () => {
  sessionStorage.removeItem(TOKEN);
  noteToken();
  return poll();
});

noteToken();
poll();
