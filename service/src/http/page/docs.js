// The documentation of the API: Swagger UI, signed in with the key of the tab.

const dark = matchMedia('(prefers-color-scheme: dark)');
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', follow);
follow();

const key = sessionStorage.getItem('key');
const ui = window.SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#documentation',
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  // No request to another host.
  validatorUrl: null,
  onComplete: () => {
    if (key) ui.preauthorizeApiKey('key', key);
  },
});
