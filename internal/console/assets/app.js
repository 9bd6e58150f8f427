// The console. Each view is a function that fills the main element and may return how to read it again;
// nothing is asked while the page is hidden.

const nil = '00000000-0000-0000-0000-000000000000';
const readEvery = 5000;
const keep = 900000; // milliseconds that the charts show
const main = document.getElementById('main');
const storeSelect = document.getElementById('store');
const cost = document.getElementById('cost');

const state = { store: nil, write: false, asks: false, spent: [], leave: null, again: null, view: 0 };

// el makes an element. Text is always text: nothing that comes from a stream becomes markup.
function el(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) e.addEventListener(key.slice(2), value);
    else if (value === true) e.setAttribute(key, '');
    else if (value !== false && value != null) e.setAttribute(key, value);
  }
  e.append(...children.filter((c) => c != null).map((c) => (c instanceof Node ? c : String(c))));
  return e;
}

const compact = new Intl.NumberFormat('en', { notation: 'compact' });
const number = (n) => Number(n ?? 0).toLocaleString('en');
function bytes(n) {
  n = Number(n ?? 0);
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (n < 1024 || unit === 'GiB') return `${n < 10 && unit !== 'B' ? n.toFixed(1) : Math.round(n)} ${unit}`;
    n /= 1024;
  }
}
function duration(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}
const ago = (ms) => (ms ? `${duration(Date.now() - ms)} ago` : '–');
const at = (ms) => (ms ? new Date(ms).toISOString().replace('T', ' ').slice(0, 23) : '–');

class Failure extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

function path(operation, query = {}, store = state.store) {
  const q = new URLSearchParams(Object.entries(query).filter(([, v]) => v !== '' && v != null));
  return `/stores/${store}/v1/operate/${operation}${q.size ? '?' + q : ''}`;
}

async function ask(operation, query, method = 'GET') {
  const r = await fetch(path(operation, query), { method, credentials: 'same-origin' });
  const text = await r.text();
  if (r.status === 401) { login(); throw new Failure(401, 'log in'); }
  if (!r.ok) {
    let message = text.trim() || r.statusText;
    try { message = JSON.parse(text).message ?? message; } catch { /* it is text */ }
    throw new Failure(r.status, message);
  }
  if (r.headers.get('Content-Type')?.startsWith('application/x-ndjson')) {
    const lines = text.split('\n').filter(Boolean).map((l) => JSON.parse(l));
    const failed = lines.find((l) => l.error);
    if (failed) throw new Failure(500, failed.error.message);
    spend(1 + 2 * lines.length);
    return lines;
  }
  const value = JSON.parse(text);
  spend(value?.commands ?? 1);
  return value;
}

// spend notes what this page cost Redis.
function spend(commands) {
  const now = Date.now();
  state.spent.push([now, commands]);
  state.spent = state.spent.filter(([when]) => now - when < 60000);
  const sum = state.spent.reduce((n, [, c]) => n + c, 0);
  cost.textContent = `This page: ${state.spent.length} requests and up to ${number(sum)} Redis commands in the last minute`;
}

function table(caption, columns, rows, empty) {
  if (!rows.length) return el('div', { class: 'scroll' }, el('p', { class: 'empty' }, empty));
  return el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption },
    el('table', {},
      el('caption', {}, caption),
      el('thead', {}, el('tr', {}, ...columns.map((c) => el('th', { scope: 'col', class: c.startsWith('#') ? 'n' : null }, c.replace('#', ''))))),
      el('tbody', {}, ...rows.map((row) => el('tr', {}, ...row.map((cell, i) =>
        el('td', { class: columns[i].startsWith('#') ? 'n' : cell instanceof Node && cell.dataset?.wide ? 'wide' : null }, cell ?? '–')))))));
}

const heading = (text) => el('h1', {}, text);
const failed = (error) => el('div', { class: 'notice bad', role: 'alert' }, error.message);
const link = (hash, text) => el('a', { href: '#/' + hash }, text);
const place = (...names) => names.map(encodeURIComponent).join('/');

// Views

async function overview() {
  const doctor = el('div'), tiles = el('dl', { class: 'tiles' }), charts = el('div', { class: 'charts' }), instances = el('div');
  main.replaceChildren(heading('Overview'), el('h2', {}, 'Redis'), doctor, tiles, el('h2', {}, 'The last 15 minutes'),
    el('p', { class: 'faint' }, 'Appends, deliveries and errors are what all instances report every 15 seconds. What is shown of Redis is seen while a console is open, in this page or another one.'),
    charts, el('h2', {}, 'Instances'), instances);
  const plots = chartsOf(charts);
  state.leave = () => plots.forEach((p) => p.destroy());
  // What the server remembers comes once; later points come with each overview.
  const past = await ask('history');
  const all = { instances: past.instances ?? [], redis: past.redis ?? [] };
  const add = (list, point) => {
    if ((list.at(-1)?.at ?? 0) < point.at) list.push(point);
    while (list.length && list[0].at < Date.now() - keep) list.shift();
  };
  let read = 0;
  return async () => {
    const o = await ask('overview');
    if (read++ % 12 === 0) guarded(async () => showDoctor(doctor, await ask('doctor'), o.findings))();
    const r = o.redis, sum = (key) => o.instances.reduce((n, i) => n + i[key], 0);
    const limit = Number(r.maxmemory) ? ` of ${bytes(r.maxmemory)}` : '';
    const cpu = Number(r.used_cpu_user ?? 0) + Number(r.used_cpu_sys ?? 0);
    const before = all.redis.at(-1);
    add(all.instances, { at: o.at, appends_per_second: sum('appends_per_second'), deliveries_per_second: sum('deliveries_per_second'), errors_per_second: sum('errors_per_second') });
    add(all.redis, { at: o.at, used_memory: Number(r.used_memory ?? 0), used_cpu: cpu, commands_per_second: Number(r.instantaneous_ops_per_sec ?? 0) });
    const appends = sum('appends_per_second'), busy = before && o.at > before.at ? Math.max(0, (cpu - before.used_cpu) / ((o.at - before.at) / 1000)) : 0;
    tiles.replaceChildren(...[
      ['Redis', `${r.valkey_version ? 'Valkey ' + r.valkey_version : r.redis_version ?? 'embedded'}`],
      ['Role', r.role ?? '–'], ['Up for', r.uptime_in_seconds ? duration(r.uptime_in_seconds * 1000) : '–'],
      ['Memory', bytes(r.used_memory) + limit], ['Commands/s', number(r.instantaneous_ops_per_sec)],
      ['CPU an append', appends >= 100 && busy > 0 ? `${(busy / appends * 1e6).toFixed(0)} µs` : '–'],
      ['Appends/s', number(appends)], ['Deliveries/s', number(sum('deliveries_per_second'))],
      ['Errors/s', number(sum('errors_per_second'))], ['Connections', number(sum('connections'))], ['Followers', number(sum('followers'))],
      ['Instances', number(o.instances.length)], ['Stores', number(o.stores)],
    ].map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))));
    plots.forEach((p) => p.show(all));
    instances.replaceChildren(table('Instances, as each reported itself within 50 s', ['Name', 'Version', 'Address', 'Up for', '#Connections', '#Followers', '#Appends/s', '#Deliveries/s', '#Errors/s', 'Reported'],
      o.instances.map((i) => [i.name, i.version || '–', i.address || '–', duration(Date.now() - i.started_at), number(i.connections), number(i.followers), number(i.appends_per_second), number(i.deliveries_per_second), number(i.errors_per_second), ago(i.reported_at)]),
      'No instance has reported itself yet.'));
  };
}

// showDoctor shows what is wrong with Redis, each with its cure, and says when that was looked at.
function showDoctor(parent, d, findings) {
  const bad = d.checks.filter((c) => c.level !== 'ok');
  parent.replaceChildren(
    findings.length || bad.length
      ? el('div', { class: 'notice', role: 'status' }, el('ul', {},
        ...bad.map((c) => el('li', {}, el('strong', {}, c.level === 'fail' ? 'Failed: ' : 'Warning: '), `${c.name}: ${c.detail}`, c.cure ? el('div', { class: 'faint' }, `Cure: ${c.cure}`) : null)),
        ...findings.map((f) => el('li', {}, f))))
      : el('p', { role: 'status' }, `The doctor finds nothing: ${d.checks.length} checks.`),
    el('p', { class: 'faint' }, `streamhub doctor, ${ago(d.at)}. It looks once a minute at most, with up to 80 commands for each server.`));
}

function chartsOf(parent) {
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const cpu = (p, i, all) => (i > 0 && p.at > all[i - 1].at && p.at - all[i - 1].at < 60000 ? Math.max(0, (p.used_cpu - all[i - 1].used_cpu) / ((p.at - all[i - 1].at) / 1000) * 100) : null);
  const of = (key, scale = 1) => (p) => p[key] * scale;
  const specs = [
    ['Appends and deliveries a second', 'instances', [[of('appends_per_second'), 'Appends', '--accent'], [of('deliveries_per_second'), 'Deliveries', '--warn']]],
    ['Errors a second', 'instances', [[of('errors_per_second'), 'Errors', '--bad']]],
    ['Redis commands a second', 'redis', [[of('commands_per_second'), 'Commands', '--accent']]],
    ['Redis CPU in percent of a core', 'redis', [[cpu, 'CPU', '--accent']]],
    ['Redis memory in MiB', 'redis', [[of('used_memory', 1 / 1048576), 'Memory', '--accent']]],
  ];
  const pictures = specs.map(([title]) => {
    const picture = el('div', { role: 'img', 'aria-label': title });
    parent.append(el('figure', {}, el('figcaption', {}, title), picture));
    return picture;
  });
  return specs.map(([title, source, lines], i) => {
    const picture = pictures[i];
    const axis = { stroke: color('--faint'), grid: { stroke: color('--line'), width: 1 }, ticks: { stroke: color('--line'), width: 1 }, font: '11px system-ui' };
    const plot = new uPlot({
      width: Math.max(280, picture.clientWidth), height: 150, cursor: { show: false }, legend: { show: lines.length > 1, live: false },
      scales: { x: { range: () => [(Date.now() - keep) / 1000, Date.now() / 1000] }, y: { range: (u, min, max) => [0, Math.max(1, max * 1.1)] } },
      axes: [axis, { ...axis, size: 56, values: (u, ticks) => ticks.map(compact.format) }],
      series: [{}, ...lines.map(([, label, ink]) => ({ label, stroke: color(ink), width: 1.5, points: { show: (u, index) => u.data[index].filter((v) => v != null).length < 3 } }))],
    }, [[], ...lines.map(() => [])], picture);
    return {
      show: (all) => {
        const points = all[source];
        const values = lines.map(([value]) => points.map(value));
        plot.setData([points.map((p) => p.at / 1000), ...values]);
        picture.setAttribute('aria-label', `${title}: ${lines.map(([, label], n) => `${label} ${number(values[n].at(-1)?.toFixed(1))}`).join(', ')}`);
      },
      destroy: () => plot.destroy(),
    };
  });
}

// pages has the buttons for a list that goes on from a place.
function pages(stack, next, show) {
  return el('div', { class: 'bar' },
    el('button', { type: 'button', disabled: stack.length === 0, onclick: () => { stack.pop(); show(); } }, 'Previous'),
    el('button', { type: 'button', disabled: !next, onclick: () => { stack.push(next); show(); } }, 'Next'));
}

// finder is a field that jumps to a name in the order of names.
function finder(label, stack, show) {
  const input = el('input', { id: 'find', type: 'search', autocomplete: 'off' });
  return el('form', { class: 'bar', role: 'search', onsubmit: (e) => { e.preventDefault(); stack.length = 0; if (input.value) stack.push(before(input.value)); show(); } },
    el('label', {}, label, input), el('button', {}, 'Go'));
}

// before returns what names from text on come after.
function before(text) {
  const code = text.charCodeAt(text.length - 1);
  return code > 33 && code < 127 ? text.slice(0, -1) + String.fromCharCode(code - 1) + '~' : text.slice(0, -1);
}

async function spaces() {
  const stack = [], body = el('div'), turn = el('div');
  let show;
  main.replaceChildren(heading('Spaces'), finder('Space, or what its name begins with', stack, () => show()), body, turn);
  show = async () => {
    const p = await ask('spaces', { after: stack.at(-1) });
    const items = p.items ?? [];
    body.replaceChildren(table('Spaces in the order of their names', ['Space', 'Segments', 'Entries'],
      items.map((s) => [link(place('spaces', s), s), link(place('spaces', s), 'segments'), link(place('entries', s), 'along the space')]),
      'This store has no spaces from here on. echo hello | streamhub append demo/log makes one.'));
    turn.replaceChildren(pages(stack, p.next, guarded(show)));
  };
  return show;
}

async function segments(space) {
  const stack = [], body = el('div'), turn = el('div'), seen = new Map();
  let show;
  main.replaceChildren(el('h1', {}, link('spaces', 'Spaces'), ' / ', space),
    el('div', { class: 'bar' }, finder('Segment, or what its name begins with', stack, () => show()), link(place('entries', space), 'Entries of the whole space')), body, turn);
  show = async () => {
    const p = await ask('segments', { space, after: stack.at(-1) });
    const now = Date.now();
    body.replaceChildren(table('Segments in the order of their names', ['Segment', '#Entries', '#In Redis', '#Archived', '#About', '#First', '#Last', '#Rate/s', 'Last entry', 'State', 'Verdict', 'Expires', 'Content type'],
      p.items.map((s) => {
        const was = seen.get(s.segment);
        seen.set(s.segment, { at: now, last: s.last_sequence });
        const rate = was && now > was.at ? (s.last_sequence - was.last) / ((now - was.at) / 1000) : 0;
        return [link(place('entries', space, s.segment), s.segment), number(s.entries), number(s.hot), number(s.cold), s.bytes < 0 ? '–' : bytes(s.bytes), number(s.first_sequence), number(s.last_sequence), number(rate.toFixed(1)), ago(s.last_timestamp), s.state ?? 'open', s.verdict?.kind ?? '–', s.expires_at ? 'in ' + duration(s.expires_at - now) : 'never', s.content_type || '–'];
      }), 'No segments from here on.'), el('p', { class: 'faint' }, 'About: the memory of the entries in Redis, as Redis estimates it by samples. Archived: the entries that only the archive holds.'));
    turn.replaceChildren(pages(stack, p.next, guarded(show)));
  };
  return show;
}

function payload(e) {
  if (e.text == null) return el('pre', {}, `${e.payload ?? ''} (base64)`);
  let text = e.text;
  if (/^\s*[[{]/.test(text) && !e.cut) {
    try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* it is no JSON */ }
  }
  return el('pre', {}, text + (e.cut ? '\n… cut after 64 KiB' : ''));
}

function entryRows(items) {
  return items.map((e) => {
    const data = el('div', { 'data-wide': 'y' }, payload(e));
    const more = Object.entries(e.metadata ?? {}).map(([k, v]) => `${k}=${v}`).join(' ');
    if (more) data.append(el('div', { class: 'faint' }, more));
    return [e.segment, number(e.sequence), at(e.timestamp), bytes(e.bytes), data,
      el('button', { type: 'button', 'aria-label': `Copy the cursor of ${e.segment} ${e.sequence}`, onclick: () => navigator.clipboard?.writeText(e.cursor) }, 'Cursor')];
  });
}

const entryColumns = ['Segment', '#Sequence', 'Time (UTC)', '#Size', 'Payload', 'Copy'];

// place of a jump: a sequence, a cursor, or a time, which is UTC where it names no zone.
function jump(text) {
  const m = /^(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d)(:\d\d(?:\.\d+)?)?)?\s*(Z|[+-]\d\d:\d\d)?$/.exec(text);
  return m ? `${m[1]}T${m[2] ?? '00:00'}${m[3] ?? ':00'}${m[4] ?? 'Z'}` : text;
}

// copying is a button that puts a text into the clipboard and says so.
function copying(label, text, note) {
  return el('button', { type: 'button', onclick: async () => {
    try { await navigator.clipboard.writeText(text); note.textContent = 'Copied.'; } catch { note.textContent = text; }
  } }, label);
}

// shell quotes a word for a shell.
const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

async function entries(space, segment) {
  const body = el('div'), turn = el('div'), note = el('p', { class: 'faint', role: 'status' });
  const from = el('input', { id: 'find', autocomplete: 'off' });
  const tailing = el('button', { type: 'button', 'aria-pressed': 'false' }, 'Live tail');
  const where = segment ? `${space}/${segment}` : space;
  const front = (await ask('instances').catch(() => [])).find((i) => i.address)?.address ?? 'http://HOST:PORT';
  const url = `${front}${state.store === nil ? '' : '/stores/' + state.store}/v1/stream/${encodeURIComponent(space)}/${encodeURIComponent(segment ?? '')}`;
  const follow = segment ? `store.FollowSegment(ctx, ${JSON.stringify(space)}, ${JSON.stringify(segment)}, nil)` : `store.FollowSpace(ctx, ${JSON.stringify(space)}, nil)`;
  const go = `for e, err := range ${follow} {\n\tif err != nil {\n\t\treturn err\n\t}\n\tfmt.Printf("%d %s\\n", e.Sequence, e.Payload)\n}`;
  const stack = [];
  let source = null, live = [];
  const show = async () => {
    if (source) return;
    const p = await ask('entries', { space, segment, from: stack.at(-1) });
    body.replaceChildren(table(`Entries of ${where}`, entryColumns, entryRows(p.items), 'No entries from here on.'));
    turn.replaceChildren(pages(stack, p.next, guarded(show)));
  };
  const stop = () => { source?.close(); source = null; tailing.setAttribute('aria-pressed', 'false'); };
  tailing.addEventListener('click', () => {
    if (source) { stop(); note.textContent = 'The tail is stopped.'; return; }
    live = [];
    source = new EventSource(path('tail', { space, segment }));
    tailing.setAttribute('aria-pressed', 'true');
    note.textContent = 'Following what is appended from now on.';
    turn.replaceChildren();
    body.replaceChildren(table(`Entries of ${where}`, entryColumns, [], 'Nothing came yet.'));
    source.addEventListener('entries', (event) => {
      const { items, skipped } = JSON.parse(event.data);
      if (skipped) note.textContent = `${number(skipped)} more came too fast to be shown.`;
      if (!items.length) return;
      live = [...items.reverse(), ...live].slice(0, 100);
      body.replaceChildren(table(`Entries of ${where}, the newest first`, entryColumns, entryRows(live), ''));
    });
    source.addEventListener('end', (event) => { note.textContent = `The segment has ended: ${JSON.parse(event.data).kind}.`; stop(); });
    source.addEventListener('error', guarded(async () => {
      if (source?.readyState !== EventSource.CLOSED) return; // it connects again by itself
      stop();
      note.textContent = 'The tail has ended.';
      await ask('stores'); // asks for the token if the session has ended
    }));
    source.addEventListener('failed', (event) => { note.textContent = JSON.parse(event.data).message; stop(); });
  });
  main.replaceChildren(
    el('h1', {}, link('spaces', 'Spaces'), ' / ', link(place('spaces', space), space), ...(segment ? [' / ', segment] : [])),
    el('form', { class: 'bar', onsubmit: (e) => { e.preventDefault(); stop(); stack.length = 0; if (from.value.trim()) stack.push(jump(from.value.trim())); guarded(show)(); } },
      el('label', {}, segment ? 'From a sequence or a time, or after a cursor' : 'From a time, or after a cursor', from), el('button', {}, 'Go'), tailing,
      copying('Copy as command', `streamhub read ${shell(where)} --follow${state.store === nil ? '' : ' --store ' + state.store}`, note),
      segment ? copying('Copy as curl', `curl -N ${shell(url + '?offset=-1&live=sse')}`, note) : null,
      copying('Copy as Go', go, note)),
    el('p', { class: 'faint' }, 'A time is 2026-11-30, 2026-11-30 12:00 or 2026-11-30T12:00:00.5+01:00, UTC without a zone.'),
    note, body, turn);
  state.leave = stop;
  await show();
  return null; // a page that is read stands still
}

async function liveStreams() {
  const cancel = async (l) => {
    const reason = prompt(`Cancel ${l.id}? Its producer is asked to stop. The reason, for people:`, '');
    if (reason == null) return;
    await ask('live', { space: space.value || 'live', id: l.id, generation: l.generation, reason }, 'DELETE');
    await show();
  };
  const space = el('input', { id: 'find', value: 'live', autocomplete: 'off' });
  const ended = el('input', { type: 'checkbox' });
  const body = el('div');
  const show = async () => {
    const list = await ask('live', { space: space.value || 'live', ended: ended.checked ? '1' : '' });
    list.sort((a, b) => (a.id < b.id ? -1 : 1));
    body.replaceChildren(table('Live streams', ['Id', 'Verdict', '#Chunks', '#Viewers', 'Producer', 'Started', 'Last chunk', 'Counts as silent', ...(state.write ? ['Action'] : [])],
      list.map((l) => [link(place('entries', space.value || 'live', `${l.id}~${l.generation}`), l.id), l.verdict?.kind ?? 'producing', number(l.chunks), number(l.viewers), l.by || '–', ago(l.started_at), ago(l.last_timestamp), l.silent_at ? 'in ' + duration(l.silent_at - Date.now()) : '–',
        ...(state.write ? [l.verdict ? '–' : el('button', { type: 'button', onclick: guarded(() => cancel(l)) }, `Cancel ${l.id}`)] : [])]),
      'Nothing is produced in this space.'));
  };
  main.replaceChildren(heading('Live streams'),
    el('form', { class: 'bar', onsubmit: (e) => { e.preventDefault(); guarded(show)(); } },
      el('label', {}, 'Space', space), el('label', {}, 'Also those that have ended', ended), el('button', {}, 'Go')), body);
  ended.addEventListener('change', guarded(show));
  return show;
}

async function leases() {
  const body = el('div'), there = el('div');
  main.replaceChildren(heading('Leases and workers'), body, el('h2', {}, 'Workers'), there);
  return async () => {
    const [list, workers] = await Promise.all([ask('leases'), ask('workers')]);
    list.sort((a, b) => (a.key < b.key ? -1 : 1));
    body.replaceChildren(table('Leases that are held', ['Key', 'Holder', 'Since (UTC)', 'Left', '#Token'],
      list.map((l) => [l.key, l.host ? `process ${l.process} on ${l.host}` : l.holder, at(l.since), duration(l.left_ms), String(l.token)]), 'No lease is held in this store.'));
    there.replaceChildren(table('Workers that have joined', ['Worker', 'Last seen', 'Metadata'],
      workers.map((w) => [w.worker_id, ago(w.last_seen_at), Object.entries(w.metadata ?? {}).map(([k, v]) => `${k}=${v}`).join(' ') || '–']), 'This store has no workers.'));
  };
}

async function subscriptions() {
  const body = el('div');
  main.replaceChildren(heading('Subscriptions'), body);
  const show = async () => {
    const list = await ask('subscriptions');
    body.replaceChildren(table('Subscriptions of Durable Streams', ['Id', 'Type', 'Status', 'For', 'To', '#Wakes', '#Failures', 'Last failure', ...(state.write ? ['Action'] : [])],
      list.map((s) => [s.id, s.type, s.status, s.pattern || 'streams', s.webhook || s.wake_stream, number(s.wakes), number(s.failures),
        s.failure ? el('div', { 'data-wide': 'y' }, `${ago(s.failed_at)}: ${s.failure}`) : '–',
        ...(state.write ? [el('button', { type: 'button', onclick: async () => { if (confirm(`End the subscription ${s.id}?`)) { await ask('subscriptions', { id: s.id }, 'DELETE'); await show(); } } }, `End ${s.id}`)] : [])]),
      'This store has no subscriptions.'));
  };
  return show;
}

async function archived() {
  const stack = [], body = el('div'), turn = el('div'), note = el('p', { class: 'faint', role: 'status' });
  let show;
  const verify = (space) => guarded(async () => {
    note.textContent = `Reading all that is archived of ${space}…`;
    try {
      const v = await ask('verify', { space }, 'POST');
      note.textContent = v.damaged ? `${space}: ${number(v.damaged)} objects are damaged or missing. ${(v.problems ?? []).join('; ')}` : `${space} is whole: ${number(v.entries)} entries in ${duration(v.took_ms)}.`;
    } catch (error) { note.textContent = ''; throw error; }
    await show();
  });
  main.replaceChildren(heading('Archive'), note, body, turn);
  show = async () => {
    const p = await ask('archive', { after: stack.at(-1) });
    body.replaceChildren(table('Spaces in the archive', ['Space', '#Entries', '#Bytes', '#Of the raw bytes', '#Chunks', 'Archived until', 'Overdue', '#In Redis', 'Last error', 'Verified', 'Action'],
      p.items.map((a) => [
        link(place('entries', a.space), a.space), number(a.entries), bytes(a.bytes), a.raw_bytes ? `${Math.round(a.bytes / a.raw_bytes * 100)} %` : '–', number(a.chunks), at(a.until),
        a.here ? (a.full ? 'full' : duration(a.lag_ms)) : '–', a.here && a.hot_bytes ? bytes(a.hot_bytes) : '–',
        a.failure ? el('div', { 'data-wide': 'y' }, `${ago(a.failed_at)}: ${a.failure}`) : a.here ? 'none' : 'another instance archives it',
        a.verified ? `${ago(a.verified.at)}: ${a.verified.damaged ? number(a.verified.damaged) + ' damaged' : 'whole'}` : 'not yet',
        el('button', { type: 'button', onclick: verify(a.space) }, `Verify ${a.space}`)]),
      'Nothing is archived of this store. serve --archive pebble:///DIR moves old entries there.'),
    el('p', { class: 'faint' }, 'This costs Redis nothing. To verify reads everything of a space from the archive, one space at a time.'));
    turn.replaceChildren(pages(stack, p.next, guarded(show)));
  };
  return show;
}

const views = [
  ['', 'Overview', overview], ['spaces', 'Spaces', (space) => (space == null ? spaces() : segments(space))],
  ['live', 'Live streams', liveStreams], ['leases', 'Leases and workers', leases], ['subscriptions', 'Subscriptions', subscriptions], ['archive', 'Archive', archived],
];

// guarded shows the error of a view instead of losing it.
function guarded(f) {
  const view = state.view;
  return async () => {
    if (!f || view !== state.view) return;
    try {
      await f();
      main.querySelector('.notice.bad')?.remove();
    } catch (error) {
      if (view !== state.view || error.status === 401) return;
      main.querySelector('.notice.bad')?.remove();
      main.querySelector('h1')?.after(failed(error));
    }
  };
}

async function go() {
  state.leave?.();
  state.leave = state.again = null;
  state.view++;
  delete main.dataset.shown;
  const [name, ...names] = location.hash.replace(/^#\/?/, '').split('/').map(decodeURIComponent);
  const run = name === 'entries' ? () => entries(...names) : () => (views.find(([n]) => n === name) ?? views[0])[2](...names);
  for (const a of document.querySelectorAll('#nav a')) {
    const own = a.dataset.view === (name === 'entries' ? 'spaces' : name);
    if (own) a.setAttribute('aria-current', 'page'); else a.removeAttribute('aria-current');
  }
  const view = state.view;
  await guarded(async () => {
    const again = await run();
    if (view !== state.view) return;
    document.title = `${main.querySelector('h1')?.textContent ?? 'streamhub'} – streamhub`;
    state.again = again ? guarded(again) : null;
    await again?.();
    main.dataset.shown = location.hash;
  })();
}

function login() {
  state.leave?.();
  state.leave = state.again = null;
  state.view++;
  const token = el('input', { type: 'password', autocomplete: 'current-password', id: 'token', required: true });
  const note = el('p', { role: 'alert' });
  main.replaceChildren(el('form', { class: 'login', onsubmit: async (e) => {
    e.preventDefault();
    const r = await fetch('/console/login', { method: 'POST', body: token.value, credentials: 'same-origin' });
    if (r.ok) { await begin(); } else { note.textContent = await r.text(); token.select(); }
  } }, heading('streamhub'), el('label', {}, 'Admin token', token), el('p', { class: 'faint' }, 'What serve was started with as --admin-token-file.'), el('button', { class: 'primary' }, 'Log in'), note));
  token.focus();
}

async function begin() {
  const s = await (await fetch('/console/state')).json();
  state.write = s.write;
  state.asks = s.asks;
  document.getElementById('logout').hidden = !s.asks || !s.in;
  if (!s.in) { login(); return; }
  try {
    const list = await ask('stores');
    storeSelect.replaceChildren(...[...new Set([nil, ...list.items])].map((id) => el('option', { value: id }, id === nil ? 'the nil store' : id)));
  } catch { storeSelect.replaceChildren(el('option', { value: nil }, 'the nil store')); }
  storeSelect.value = state.store;
  await go();
}

document.getElementById('nav').append(...views.map(([name, text]) => el('a', { href: '#/' + name, 'data-view': name }, text)));
storeSelect.addEventListener('change', () => { state.store = storeSelect.value; location.hash = '#/spaces'; go(); });
document.getElementById('store-form').addEventListener('submit', (e) => e.preventDefault());
document.getElementById('logout').addEventListener('click', async () => { await fetch('/console/logout', { method: 'POST' }); await begin(); });
addEventListener('hashchange', () => go());
document.addEventListener('keydown', (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) return;
  const view = views[Number(e.key) - 1];
  if (view) { location.hash = '#/' + view[0]; e.preventDefault(); }
  if (e.key === '/') { document.getElementById('find')?.focus(); e.preventDefault(); }
  if (e.key === 'r') state.again?.();
});
let reading = false;
setInterval(async () => {
  if (document.hidden || reading || !state.again) return;
  reading = true;
  try { await state.again(); } finally { reading = false; }
}, readEvery);
begin();
