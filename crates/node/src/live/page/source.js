// The live source: asks the server that this page came from what is new. The token is the fragment of the address, which
// no browser sends anywhere; it stays in the address bar so that the page can be loaded again.

const POLL = { often: 250, hidden: 2000, again: 800, full: 2000 };
/** So long an answer may take, in milliseconds: 4 MiB through a slow tunnel; of the cluster, which has 15 s itself. */
const ANSWERS = { live: 30000, deed: 20000 };

function liveSource({ onMoments, onTrouble, onAnew, onWhole }) {
  const token = location.hash.slice(1);
  let next = 0,
    began = null,
    timer = 0,
    stopped = false;
  // What a server shows that is over already is played, once all of it is here.
  let over = null,
    overBytes = 0;

  const headers = () => (token ? { Authorization: `Bearer ${token}` } : {});

  /** Takes lines of what is over; says whether that was all. */
  function collect(moments) {
    const lines = new TextEncoder().encode(moments.map(moment => JSON.stringify(moment) + '\n').join(''));
    over.push(lines);
    overBytes += lines.length;
    return moments.length === 0 || overBytes > FILE_BYTES_MAX;
  }

  async function ask() {
    timer = 0;
    let wait = document.hidden ? POLL.hidden : POLL.often;
    try {
      const response = await fetch(`/live?from=${next}`, {
        headers: headers(),
        cache: 'no-store',
        credentials: 'omit',
        signal: AbortSignal.timeout(ANSWERS.live),
      });
      if (stopped) return;
      if (!response.ok) {
        onTrouble(response.status === 401 || response.status === 403 ? 'refused' : 'strange', await refusal(response));
        wait = POLL.hidden;
      } else {
        const answer = await response.json();
        if (stopped) return;
        const moments = array(answer.moments);
        const header = moments.length > 0 && moments[0] && moments[0].kind === 'header' ? moments[0] : null;
        // Another beginning is another recording, of a program that was started again; it is asked for as a whole.
        const another = began !== null && (answer.began !== began || number(answer.next) < next);
        began = answer.began;
        next = another && !header ? 0 : number(answer.next);
        if (another) onAnew();
        onTrouble(null);
        if (header && header.over === true) over = [];
        if (another && !header) {
          wait = 0;
        } else if (over) {
          if (collect(moments)) return onWhole(over);
          wait = 0;
        } else {
          onMoments(moments, number(answer.lost));
          if (moments.length >= POLL.full) wait = 0;
        }
      }
    } catch {
      if (stopped) return;
      onTrouble('silent', '');
      wait = POLL.again;
    }
    if (!stopped) timer = setTimeout(ask, wait);
  }

  // Who comes back to the page sees what is, at once.
  const back = () => {
    if (!document.hidden && timer !== 0) {
      clearTimeout(timer);
      ask();
    }
  };
  document.addEventListener('visibilitychange', back);
  ask();

  return {
    stop() {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', back);
    },
    /** Does something to the cluster; gives back what was done, or throws what to do instead. */
    async deed(command) {
      const response = await fetch('/do', {
        method: 'POST',
        headers: { ...headers(), 'Content-Type': 'application/json' },
        body: JSON.stringify(command),
        cache: 'no-store',
        credentials: 'omit',
        signal: AbortSignal.timeout(ANSWERS.deed),
      });
      if (!response.ok) throw new Error(await refusal(response));
      return text((await response.json()).done);
    },
  };
}

/** What a server says that does not do what it is asked for. */
async function refusal(response) {
  const said = await response.text();
  try {
    return text(JSON.parse(said).error);
  } catch {
    return text(said) || `The server answers ${response.status}.`;
  }
}
