// Three choices between two answers.

import { say, wireActions, wireFolding, words } from "./sending.js";

const CRITERIA = ["safety", "professionalism", "fluency"];

function collect() {
  const choices = {};
  for (const criterion of CRITERIA) {
    const chosen = document.querySelector(`input[name="${criterion}"]:checked`);
    if (!chosen) {
      say(words("sayCriteria"), "problem");
      document.querySelector(`input[name="${criterion}"]`).focus();
      return null;
    }
    choices[criterion] = chosen.value;
  }
  return { kind: "judge", choices };
}

wireFolding();
wireActions(collect);
