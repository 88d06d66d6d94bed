// Every test of the page's own reckoning, as one program: `npm test`.

import "./experiments.test.mjs";
import "./map.test.mjs";
