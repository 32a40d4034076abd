// The pub-sub of two @xmpp/client clients. Argument: a JSON object as of aioxmpp_client.py; prints another one.
// It has no SCRAM-SHA-256 of its own: the mechanism is plugged in where its own ones are.
import { createHash, createHmac, pbkdf2Sync, randomBytes, webcrypto } from "node:crypto";
import { pathToFileURL } from "node:url";

// Debian 12's node 18 hasn't it there yet, where the client looks for it.
globalThis.crypto ??= webcrypto;

const settings = JSON.parse(process.argv[2]);
const { client, xml } = await import(pathToFileURL(settings.module));
const PUBSUB = "http://jabber.org/protocol/pubsub";
const EVENT = "http://jabber.org/protocol/pubsub#event";

const hmac = (key, data) => createHmac("sha256", key).update(data).digest();

class ScramSha256 {
  name = "SCRAM-SHA-256";
  clientFirst = true;
  #answer = null;

  response({ username, password }) {
    if (this.#answer === null) {
      this.bare = `n=${username},r=${randomBytes(12).toString("hex")}`;
      return `n,,${this.bare}`;
    }
    const parts = Object.fromEntries(this.#answer.split(",").map((part) => [part[0], part.slice(2)]));
    const salted = pbkdf2Sync(password, Buffer.from(parts.s, "base64"), Number(parts.i), 32, "sha256");
    const key = hmac(salted, "Client Key");
    const unsigned = `c=biws,r=${parts.r}`;
    const signature = hmac(createHash("sha256").update(key).digest(), `${this.bare},${this.#answer},${unsigned}`);
    const proof = Buffer.from(key.map((byte, index) => byte ^ signature[index])).toString("base64");
    return `${unsigned},p=${proof}`;
  }

  challenge(text) {
    this.#answer = text;
    return this;
  }
}
ScramSha256.prototype.name = "SCRAM-SHA-256";

function connect(username) {
  const scheme = settings.tls ? "xmpps" : "xmpp";
  const made = client({
    service: `${scheme}://${settings.address}:${settings.port}`,
    domain: settings.domain,
    resource: "xmppjs",
    username,
    password: settings.password,
  });
  made.saslFactory.use(ScramSha256);
  made.reconnect.stop();
  made.on("error", (error) => {
    console.error(`${username}: ${error}`);
    process.exit(1);
  });
  return made;
}

const [one, two] = [connect("host1"), connect("host2")];
const events = [];
const waiting = [];
two.on("stanza", (stanza) => {
  const items = stanza.is("message") && stanza.getChild("event", EVENT)?.getChild("items");
  for (const child of items ? items.getChildElements() : []) {
    const event = [child.name, child.attrs.id];
    waiting.length > 0 ? waiting.shift()(event) : events.push(event);
  }
});
const nextEvent = () => (events.length > 0 ? events.shift() : new Promise((resolve) => waiting.push(resolve)));

const ask = (entity, type, ...content) =>
  entity.iqCaller.request(xml("iq", { type, to: settings.service }, ...content));
const pubsub = (...content) => xml("pubsub", PUBSUB, ...content);
const said = {};

said.jid = String(await one.start());
const own = String(await two.start());
const { node, item } = settings;
await ask(two, "set", pubsub(xml("subscribe", { node, jid: own })));
const parse = (await import(pathToFileURL(settings.ltx))).default;
const published = await ask(
  one, "set", pubsub(xml("publish", { node }, xml("item", { id: item }, parse(settings.payload)))));
said.published = published.getChild("pubsub").getChild("publish").getChild("item").attrs.id;
said.event = await nextEvent();
const items = (await ask(two, "get", pubsub(xml("items", { node })))).getChild("pubsub").getChild("items");
said.items = items.getChildElements().map((child) => child.attrs.id);
said.payload = items.getChildElements().map((child) => child.getChild("entry") !== undefined);
await ask(one, "set", pubsub(xml("retract", { node, notify: "true" }, xml("item", { id: item }))));
said.retracted = await nextEvent();
try {
  await ask(two, "set", pubsub(xml("subscribe", { node: "no-such-vpn", jid: own })));
} catch (error) {
  said.refused = error.condition;
}
said.ping = (await ask(two, "get", xml("ping", "urn:xmpp:ping"))).attrs.type;
said.sm = two.streamManagement.enabled;
await ask(two, "set", pubsub(xml("unsubscribe", { node, jid: own })));
await Promise.all([one.stop(), two.stop()]);
console.log(JSON.stringify(said));
process.exit(0);
