// Before the first paint, so that nobody sees the other colours flash.
const theme = localStorage.getItem("theme");
if (theme) document.documentElement.dataset.theme = theme;
// The server renders times and days of reports in the zone of who looks at them.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && !document.cookie.includes(`carom_zone=${zone}`)) {
  document.cookie = `carom_zone=${zone}; path=/; max-age=31536000; SameSite=Lax`;
}
