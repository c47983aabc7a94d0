// Asks the service. If it wants a token, every request waits until a person has given one.

// Seconds before a request is sent again that the service was too busy for, and how many times that is done.
const LONGEST_PAUSE = 30, ATTEMPTS = 6;

let token = "";
let tokenGiven = null;  // a promise while the form for the token is shown

class ServiceError extends Error {
  constructor(status, message, pause = 0) {
    super(message);
    this.status = status;
    this.pause = pause;  // seconds that the service asks to wait
  }

  get mayPass() {
    return [0, 429, 502, 503, 504].includes(this.status);
  }
}

// The service's JSON. Raises a ServiceError with a message for people.
async function ask(path, body) {
  for (;;) {
    const sent = token;
    const headers = { Accept: "application/json", ...(body ? { "Content-Type": "application/json" } : {}), ...(sent ? { Authorization: `Bearer ${sent}` } : {}) };
    let answer;
    try {
      answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), cache: "no-store" });
    } catch {
      throw new ServiceError(0, "The service does not answer. Check the connection, then try again.");
    }
    const found = await answer.json().catch(() => null);
    if (answer.status === 401) {
      if (sent === token) await askForToken(sent !== "");
      continue;
    }
    if (answer.ok && found) return found;
    const message = found && found.error ? sentence(found.error.message) : `The service answered with status ${answer.status}.`;
    throw new ServiceError(answer.status, message, Number(answer.headers.get("Retry-After")) || 0);
  }
}

// Show the form for the token, and resolve when it was used.
function askForToken(wasRefused) {
  if (!tokenGiven) {
    token = "";
    $("token-section").hidden = false;
    $("token-message").textContent = wasRefused ? "The service does not accept this token." : "This service asks for a token.";
    $("token").value = "";
    $("token").focus();
    tokenGiven = new Promise((resolve) => {
      $("token-form").onsubmit = (event) => {
        event.preventDefault();
        const given = $("token").value.trim();
        if (!/^[!-~]+$/.test(given)) {
          $("token-message").textContent = "A token has letters, digits and signs of ASCII, and no spaces.";
          return;
        }
        token = given;
        $("token-section").hidden = true;
        tokenGiven = null;
        resolve();
      };
    });
  }
  return tokenGiven;
}
