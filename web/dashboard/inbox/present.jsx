// Which other members have the conversation open, and who of them types.

import { user } from "../account.js";
import { t } from "../language.js";
import { nameOf } from "../workspace.js";

export function Present({ members }) {
  const others = members.filter(({ user_id }) => user_id !== user.value?.id);
  function say(words, found) {
    if (!found.length) return null;
    const members = found.map(({ user_id }) => nameOf(user_id) ?? t("inbox.team")).join(", ");
    return <span>{t(words, { members, count: found.length })}</span>;
  }
  return (
    <p class="present" role="status">
      {say("inbox.typing", others.filter(({ typing }) => typing))} {say("inbox.here", others.filter(({ typing }) => !typing))}
    </p>
  );
}
