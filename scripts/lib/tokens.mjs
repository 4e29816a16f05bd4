/** Secrets of an installation. */
import { randomBytes } from "node:crypto";

/** 192 bits, in letters that need no quotes anywhere. */
export const newToken = () => randomBytes(24).toString("base64url");
