// Every test of the page's own reckoning, as one program: `npm test`.

import "./budget.test.mjs";
import "./chirpy-draft.test.mjs";
import "./chirpy-words.test.mjs";
import "./experiments.test.mjs";
import "./fold.test.mjs";
import "./map.test.mjs";
