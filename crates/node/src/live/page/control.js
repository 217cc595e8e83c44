// What a person does to the cluster: one command at a time for each button, and what came of it beside it.

/** How long what came of something stays, in milliseconds. */
const WORDS_STAY = 20000;
const UNDER_WAY = 'being done…';

function controlOf(page) {
  async function act(command, said) {
    if (said.textContent === UNDER_WAY) return;
    say(said, UNDER_WAY);
    said.removeAttribute('data-level');
    let words;
    try {
      words = (await page.live().deed(command)) || 'done';
    } catch (error) {
      words = error.message;
      mark(said, 'data-level', 'bad');
    }
    say(said, words);
    // Words that stay would soon be about how it was.
    setTimeout(() => {
      if (said.textContent === words) say(said, '');
    }, WORDS_STAY);
  }

  const dialog = $('sides');
  let choices = [];

  function sides() {
    const found = [[], []];
    choices.forEach(([first], id) => found[first.checked ? 0 : 1].push(id));
    return found;
  }

  function foresee() {
    const { q, n } = page.model().header;
    const [a, b] = sides();
    const words =
      a.length === 0 || b.length === 0
        ? 'All are on one side: nothing is split.'
        : a.length >= q || b.length >= q
          ? `Side ${a.length >= q ? 'A' : 'B'} has ${Math.max(a.length, b.length)} of ${n} replicas, which is a quorum: it goes on, and the others wait.`
          : `Neither side has ${q} of ${n} replicas: nothing can be agreed on until you heal the network, and nothing goes wrong.`;
    say($('sides-words'), words);
    $('sides-do').disabled = a.length === 0 || b.length === 0;
  }

  $('split').addEventListener('click', () => {
    const { n } = page.model().header;
    choices = [];
    const boxes = [];
    for (let id = 0; id < n; id++) {
      const choice = side => {
        const input = el('input', { type: 'radio', name: `side-${id}`, value: side, onchange: foresee });
        input.checked = id < Math.ceil(n / 2) === (side === 'A');
        return input;
      };
      const [a, b] = [choice('A'), choice('B')];
      choices.push([a, b]);
      boxes.push(
        el(
          'fieldset',
          {},
          el('legend', { text: `Replica ${id}` }),
          el('label', {}, a, ' side A'),
          el('label', {}, b, ' side B'),
        ),
      );
    }
    $('sides-list').replaceChildren(...boxes);
    foresee();
    dialog.returnValue = '';
    dialog.showModal();
  });
  dialog.addEventListener('close', () => {
    if (dialog.returnValue === 'split') act({ command: 'partition', sides: sides() }, $('network-said'));
  });
  $('heal').addEventListener('click', () => act({ command: 'heal' }, $('network-said')));

  return {
    act,
    /** `can`: whether somebody does what is asked for. */
    draw(model, can) {
      const { control, commands } = model.header;
      show($('network'), control && (commands.includes('partition') || commands.includes('heal')));
      show($('split'), commands.includes('partition'));
      show($('heal'), commands.includes('heal'));
      $('split').disabled = $('heal').disabled = !can;
      if (!can && dialog.open) dialog.close();
    },
  };
}
