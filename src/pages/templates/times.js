(() => {
  // Times stand in UTC for whoever has no script. Otherwise they are the reader's, and UTC is the title.
  const format = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  for (const time of document.querySelectorAll("time[datetime]")) {
    time.title = time.textContent;
    time.dir = document.documentElement.dir;
    time.textContent = format.format(new Date(time.dateTime));
  }
})();
