// inbox.mjs - what is pushed to a test, in order: messages of a channel, frames of a socket.

/** How long a test waits for one message. */
const PATIENCE_MS = 12000;

export class Inbox {
    #items = [];
    #waiting = [];

    push(item) {
        const at = this.#waiting.findIndex((wait) => wait.fits(item));
        if (at < 0) {
            this.#items.push(item);
        } else {
            this.#waiting.splice(at, 1)[0].resolve(item);
        }
    }

    /** The first that fits, now or later; it is taken out. */
    next(fits = () => true) {
        const at = this.#items.findIndex(fits);
        if (at >= 0) {
            return Promise.resolve(this.#items.splice(at, 1)[0]);
        }
        // Made here: its stack says who waits.
        const error = new Error(`nothing that fits ${fits} came`);
        return new Promise((resolve, reject) => {
            const late = setTimeout(() => {
                error.message += `, but ${JSON.stringify(this.#items)}`;
                reject(error);
            }, PATIENCE_MS);
            this.#waiting.push({ fits, resolve: (item) => { clearTimeout(late); resolve(item); } });
        });
    }

    get length() {
        return this.#items.length;
    }
}
