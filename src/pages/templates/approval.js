(() => {
  const form = document.querySelector("form.permit");
  const buttons = form.querySelectorAll("button");
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
})();
