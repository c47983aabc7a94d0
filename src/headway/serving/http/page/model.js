// What the page says of the model that answers.

let labels = 0;  // number of labels of the model, 0 while it is unknown

async function showModel() {
  try {
    const model = await ask("model"), metrics = model.metrics || {};
    labels = model.classes.length;
    document.title = model.name;
    $("model-name").textContent = model.name;
    const facts = [`Version ${model.version}`, counted(labels, "label")];
    for (const [name, title] of [["test_accuracy", "accuracy"], ["test_macro_f1", "macro F1"]]) {
      if (typeof metrics[name] === "number") facts.push(`${title} ${metrics[name].toFixed(4)} on test texts`);
    }
    $("model-facts").textContent = facts.join(" · ");
    $("model-decision").textContent = model.decision && model.decision.headline ? sentence(model.decision.headline) : "";
  } catch (error) {
    $("model-facts").className = "failed";
    $("model-facts").textContent = error.message;
  }
}

showModel();
