// All is done: the last vote can still be taken back, and what was not sent is sent.

import { wireActions } from "./sending.js";

wireActions(() => null);
