// Keeps {name, value} in a cookie for a day. In a frame of another site (a hosted Space) only a partitioned one is kept.

const DAY = 86_400;

export default function ({ data }) {
  const secure = location.protocol === "https:", framed = window.top !== window;
  const site = secure && framed ? "SameSite=None; Secure; Partitioned" : secure ? "SameSite=Lax; Secure" : "SameSite=Lax";
  document.cookie = `${data.name}=${data.value}; path=/; max-age=${DAY}; ${site}`;
}
