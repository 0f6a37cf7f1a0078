// How the embedded chat will look, drawn with its measures and colours. It is no chat: it takes no messages.

import { t } from "../language.js";

// Black or white, whichever has more contrast on a colour, as the chat itself decides.
function textOn(colour) {
  const [red, green, blue] = [1, 3, 5].map((place) => {
    const part = parseInt(colour.slice(place, place + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000000" : "#ffffff";
}

export function Preview({ title, greeting, replies, tag }) {
  const { color, scheme, position } = tag;
  const style = { "--chat-accent": color, "--chat-on-accent": textOn(color) };
  return (
    <figure class={`preview ${scheme} ${position}`} style={style}>
      <figcaption class="note">{t("settings.preview")}</figcaption>
      <div class="preview-page">
        <div class="preview-chat">
          <p class="preview-title">{title}</p>
          <div class="preview-scroll">
            <p dir="auto">{greeting || t("settings.preview.greeting")}</p>
            <p class="preview-replies">
              {replies.map((reply) => (
                <span key={reply} dir="auto">
                  {reply}
                </span>
              ))}
            </p>
          </div>
          <p class="preview-box">{t("settings.preview.message")}</p>
        </div>
        <span class="preview-launcher" aria-hidden="true" />
      </div>
    </figure>
  );
}
