// The whole client against an edge: takes `{module, url, rows: [[testId, position|null], …]}`, prints for each row
// `[reason of a reset or null, [seq, …]]`.

let text = "";
for await (const piece of process.stdin) text += piece;
const { module, url, rows } = JSON.parse(text);
console.info = () => {}; // the connection's log is not the answer
const { connect } = await import(module);
const told = [];
for (const [testId, position] of rows) {
  const viewer = connect({ url });
  let reason = null;
  const seqs = [];
  for await (const item of viewer.events(testId, { position })) {
    if (item.type === "reset") reason = item.reason;
    else seqs.push(item.seq);
  }
  viewer.close();
  told.push([reason, seqs]);
}
console.log(JSON.stringify(told));
