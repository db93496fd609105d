(() => {
  const form = document.querySelector("form.permit");
  const buttons = form.querySelectorAll("button");
  const approve = form.querySelector(".approve");
  let sent = false;
  // A form is sent once. A disabled button would not be sent with the form, so it is disabled afterwards.
  form.addEventListener("submit", (event) => {
    if (sent) return event.preventDefault();
    sent = true;
    setTimeout(() => buttons.forEach((button) => { button.disabled = true; }));
  });
  // The browser may show this page again as it was left.
  addEventListener("pageshow", () => {
    sent = false;
    buttons.forEach((button) => { button.disabled = false; });
  });
  // What a ticked scope gives is ticked with it.
  const boxes = [...form.querySelectorAll("[name=scope]")];
  const tie = () => {
    const given = boxes.filter((box) => box.checked).flatMap((box) => (box.dataset.gives ?? "").split(" "));
    boxes.filter((box) => given.includes(box.value)).forEach((box) => { box.checked = true; });
  };
  form.addEventListener("change", tie);
  tie();
  // The style keeps Approve inert for a second. It starts again when another window has covered the page.
  const guard = () => approve.getAnimations().forEach((animation) => { animation.currentTime = 0; animation.play(); });
  addEventListener("focus", guard);
  document.addEventListener("visibilitychange", guard);
})();
