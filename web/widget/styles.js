// The styles, as a constructable style sheet, which no Content-Security-Policy for styles blocks.

const LIGHT = `
  --ink: #1b2127; --soft: #59636d; --paper: #ffffff; --ground: #f4f6f7; --line: #d9dee2; --edge: #7d8791;
  --accent: #0b6b57; --on-accent: #ffffff; --alarm: #a11c1c; --alarm-paper: #fdeeec;
  --shadow: 0 1px 3px rgb(16 24 32 / .12), 0 12px 40px rgb(16 24 32 / .18);`;
const DARK = `
  --ink: #eceff1; --soft: #a9b3bb; --paper: #1b2025; --ground: #262c32; --line: #39414a; --edge: #7b8791;
  --accent: #4fc3a1; --on-accent: #0b1512; --alarm: #ffa39b; --alarm-paper: #3b1d1b;
  --shadow: 0 1px 3px rgb(0 0 0 / .5), 0 12px 40px rgb(0 0 0 / .5);`;

export const STYLES = `
:host { all: initial; position: fixed; z-index: 2147483000; color-scheme: light; ${LIGHT} }
@media (prefers-color-scheme: dark) { :host(:not([scheme="light"])) { color-scheme: dark; ${DARK} } }
:host([scheme="dark"]) { color-scheme: dark; ${DARK} }
:host([scheme="light"]) { color-scheme: light; }

* { box-sizing: border-box; }
[hidden] { display: none !important; }
.root { font: 400 16px/1.5 system-ui, sans-serif; color: var(--ink); text-align: start; -webkit-text-size-adjust: 100%; }
button, input, textarea { font: inherit; color: inherit; letter-spacing: inherit; }
button { min-height: 44px; min-width: 44px; margin: 0; padding: 0 16px; border: 0; border-radius: 10px; cursor: pointer;
  touch-action: manipulation; -webkit-tap-highlight-color: transparent; }
:focus-visible { outline: 3px solid var(--ink); outline-offset: 2px; }
svg { display: block; width: 24px; height: 24px; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round;
  stroke-linejoin: round; }

.launcher { position: fixed; bottom: calc(20px + env(safe-area-inset-bottom)); inset-inline-end: calc(20px + env(safe-area-inset-right));
  display: grid; place-items: center; width: 60px; height: 60px; padding: 0; border-radius: 50%; background: var(--accent);
  color: var(--on-accent); box-shadow: var(--shadow); transition: transform .15s; }
.launcher:hover { transform: scale(1.05); }
.launcher svg { width: 28px; height: 28px; }
.badge { position: absolute; top: -2px; inset-inline-end: -2px; min-width: 22px; padding: 0 5px; border-radius: 11px; background: #c62828;
  color: #ffffff; box-shadow: 0 0 0 2px var(--paper); font-size: 13px; font-weight: 700; line-height: 22px; text-align: center; }
:host([position="start"]) .launcher { inset-inline: calc(20px + env(safe-area-inset-left)) auto; }

dialog { position: fixed; inset: auto; bottom: calc(20px + env(safe-area-inset-bottom)); inset-inline-end: calc(20px + env(safe-area-inset-right));
  width: 400px; height: min(640px, calc(100dvh - 40px)); max-width: none; max-height: none; margin: 0; padding: 0; overflow: hidden;
  border: 1px solid var(--line); border-radius: 18px; background: var(--paper); color: inherit; box-shadow: var(--shadow); }
dialog[open] { display: flex; flex-direction: column; animation: rise .18s ease-out; }
:host([position="start"]) dialog { inset-inline: calc(20px + env(safe-area-inset-left)) auto; }
dialog::backdrop { background: none; }
@keyframes rise { from { opacity: 0; transform: translateY(12px); } }

header { display: flex; align-items: center; gap: 4px; padding: 8px 8px 8px 20px; padding-inline: 20px 8px;
  background: var(--accent); color: var(--on-accent); }
.picture { flex: none; width: 40px; height: 40px; margin-inline-start: -8px; border-radius: 50%; background: var(--paper); }
.title { flex: 1; min-width: 0; margin-inline-start: 4px; }
.title p { margin: 0; overflow: hidden; font-size: 14px; line-height: 1.3; white-space: nowrap; text-overflow: ellipsis; }
h2 { margin: 0; overflow: hidden; font-size: 17px; font-weight: 650; line-height: 1.3; white-space: nowrap;
  text-overflow: ellipsis; }
header button { display: grid; place-items: center; width: 44px; padding: 0; background: none; }
header button:hover { background: rgb(127 127 127 / .28); }
header :focus-visible { outline-color: currentColor; outline-offset: -4px; }

.scroll { flex: 1; min-height: 0; padding: 20px 16px; overflow-y: auto; overscroll-behavior: contain; }
.scroll:focus-visible { outline-offset: -4px; }
.greeting { margin: 0 0 16px; padding: 0 4px; color: var(--soft); white-space: pre-line; }
.replies { display: flex; flex-wrap: wrap; gap: 8px; }
.replies .quiet { max-width: 100%; border-radius: 22px; overflow-wrap: anywhere; text-align: start; }
.entry + .entry, .log:not(:empty) + .draft { margin-top: 12px; }
.message { width: fit-content; max-width: 85%; padding: 9px 14px; border-radius: 16px; overflow-wrap: anywhere;
  white-space: pre-wrap; }
.contact { margin-inline-start: auto; background: var(--accent); color: var(--on-accent); border-end-end-radius: 5px; }
.persona { background: var(--ground); border-end-start-radius: 5px; }
.member { background: var(--paper); border: 1px solid var(--edge); border-end-start-radius: 5px; }
.from { display: block; color: var(--soft); font-size: 13px; font-weight: 600; }
.message a { color: inherit; text-decoration: underline; text-underline-offset: 2px; }
.at { display: block; margin: 3px 4px 0; color: var(--soft); font-size: 12px; }
.at.by-contact { text-align: end; }
.markdown > *, .markdown blockquote > *, .markdown li > p { margin: 0; }
.markdown > * + *, .markdown blockquote > * + * { margin-top: 10px; }
.markdown ul, .markdown ol { padding-inline-start: 22px; white-space: normal; }
.markdown li { white-space: pre-wrap; }
.markdown li + li { margin-top: 4px; }
.markdown h3 { font-size: 16px; font-weight: 700; line-height: 1.35; }
.markdown blockquote { padding-inline-start: 12px; border-inline-start: 3px solid var(--edge); white-space: normal; }
.markdown blockquote > p { white-space: pre-wrap; }
.markdown hr { height: 0; border: 0; border-top: 1px solid var(--edge); }
.markdown code { padding: 1px 4px; border-radius: 4px; background: rgb(127 127 127 / .18); font: 14px/1.45 ui-monospace, monospace; }
.markdown pre { padding: 10px 12px; border-radius: 8px; background: rgb(127 127 127 / .14); overflow-x: auto; text-align: start; }
.markdown pre code { padding: 0; background: none; white-space: pre; }
.wide { overflow-x: auto; white-space: normal; }
.markdown table { border-collapse: collapse; font-size: 15px; }
.markdown th, .markdown td { padding: 5px 9px; border: 1px solid var(--edge); overflow-wrap: normal; text-align: start; vertical-align: top; }
.markdown th { font-weight: 650; }
.center { text-align: center !important; }
.right { text-align: end !important; }
.after { margin: 4px 4px 0; color: var(--soft); font-size: 14px; }
.after.failed { color: var(--alarm); }
.entry .again { margin-top: 8px; }
.dots { display: inline-flex; gap: 5px; padding: 8px 2px; }
.dots i { width: 7px; height: 7px; border-radius: 50%; background: var(--soft); animation: breathe 1.2s infinite ease-in-out; }
.dots i:nth-child(2) { animation-delay: .15s; }
.dots i:nth-child(3) { animation-delay: .3s; }
@keyframes breathe { 0%, 60%, 100% { opacity: .3; } 30% { opacity: 1; } }

.person { margin: 0; color: var(--soft); font-size: 14px; }
.person:not(:empty) { padding: 8px 16px; border-top: 1px solid var(--line); }
.notice { display: flex; align-items: center; gap: 12px; min-height: 44px; padding: 6px 16px; background: var(--ground); font-size: 14px; }
.notice p { flex: 1; margin: 0; padding: 5px 0; }
.notice.problem { background: var(--alarm-paper); color: var(--alarm); }
.quiet { padding: 0 12px; border: 1px solid var(--edge); background: var(--paper); color: var(--ink); font-weight: 600; font-size: 15px; }
.quiet:hover { background: var(--ground); }
.strong { background: var(--accent); color: var(--on-accent); font-weight: 600; }
.strong[aria-disabled="true"] { opacity: .6; cursor: default; }

.compose { display: flex; align-items: flex-end; gap: 8px; padding: 12px; padding-bottom: calc(12px + env(safe-area-inset-bottom));
  border-top: 1px solid var(--line); }
textarea, input { width: 100%; min-height: 44px; margin: 0; padding: 9px 13px; border: 1px solid var(--edge); border-radius: 12px;
  background: var(--paper); font-size: 16px; line-height: 1.5; appearance: none; }
textarea { flex: 1; height: 44px; max-height: 160px; resize: none; overflow-y: auto; scrollbar-width: thin; }
::placeholder { color: var(--soft); opacity: 1; }
textarea:focus, input:focus { outline: 2px solid var(--ink); outline-offset: 0; border-color: transparent; }
.stop svg { fill: currentColor; }
.round { display: grid; flex: none; place-items: center; width: 44px; height: 44px; padding: 0; border-radius: 50%; }
:host([dir="rtl"]) .round.send svg { transform: scaleX(-1); }

.register { flex: 1; align-content: start; display: grid; gap: 6px; padding: 20px; overflow-y: auto; }
.register p { margin: 0 0 8px; white-space: pre-line; }
.register .lead { font-size: 18px; font-weight: 600; line-height: 1.35; }
.register label { font-weight: 600; font-size: 15px; }
.register label span { color: var(--soft); font-weight: 400; }
.register input { margin-bottom: 8px; }
.register .error { margin: 0 0 6px; padding: 10px 14px; border-radius: 10px; background: var(--alarm-paper); color: var(--alarm); font-size: 15px; }
.register .quiet { border-color: transparent; text-decoration: underline; text-underline-offset: 3px; background: none; }

.unseen { position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

@media (max-width: 480px), (max-height: 480px) {
  dialog, :host([position="start"]) dialog { inset: 0; top: var(--top, 0); bottom: auto; width: 100%; height: var(--height, 100dvh);
    border: 0; border-radius: 0; }
  header { padding-top: calc(8px + env(safe-area-inset-top)); }
}
@media (prefers-reduced-motion: reduce) { *, *::after { animation: none !important; transition: none !important; } }
@media (forced-colors: active) { dialog, .message, .launcher, .round, .strong { border: 1px solid ButtonText; } }
@media print { :host { display: none; } }
`;
export const SMALL = "(max-width: 480px), (max-height: 480px)";

// The page's accent colour with black or white text, whichever has more contrast: one of the two always reaches 4.5:1.
export function paint(host, color) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d");
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = [...context.getImageData(0, 0, 1, 1).data].map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  host.style.setProperty("--accent", color);
  host.style.setProperty("--on-accent", 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 ? "#ffffff" : "#000000");
}
