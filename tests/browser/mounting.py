"""A component of version 2 on a blank page, for tests that need no server."""

# What streamlit gives a component: the data, the element around its HTML, and two ways to report.
MOUNT = """async ({script, data}) => {
  const address = URL.createObjectURL(new Blob([script], {type: "text/javascript"}));
  const draw = (await import(address)).default;
  window.heard = [];
  const report = (name, value) => window.heard.push([name, value]);
  const parentElement = document.getElementById("root");
  window.show = data => draw({data, parentElement, setTriggerValue: report, setStateValue: report});
  window.show(data);
}"""
